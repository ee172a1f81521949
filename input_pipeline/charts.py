"""Bar charts with Pillow alone."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 720, 360, 48  # pixels
COLORS = ((70, 110, 180), (220, 150, 60), (90, 160, 90))


def bar_chart(title: str, labels: Sequence[str], series: dict[str, Sequence[float]]) -> Image.Image:
    """Bars in groups, one group per label, one colour per series; the highest value is written at the axis.

    Args:
        title: above the bars.
        labels: below them, one per group.
        series: name -> values, one per label; negative values are not drawn.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    top = max((value for values in series.values() for value in values), default=0) or 1
    base, room = HEIGHT - 2 * MARGIN, HEIGHT - 3 * MARGIN
    step = (WIDTH - 2 * MARGIN) / max(len(labels), 1)
    thickness = 0.8 * step / len(series)
    pen.text((MARGIN, MARGIN / 3), title, fill="black")
    pen.text((4, base - room - 6), f"{top:g}", fill="black")
    for s, (name, values) in enumerate(series.items()):
        color = COLORS[s % len(COLORS)]
        pen.text((WIDTH - MARGIN - 90 * (len(series) - s), MARGIN / 3), name, fill=color)
        for i, value in enumerate(values):
            left = MARGIN + i * step + s * thickness
            right = max(left, left + thickness - 1)  # of a bar narrower than a pixel: its left
            pen.rectangle([left, base - max(value, 0) / top * room, right, base], fill=color)
    for i, label in enumerate(labels):
        if i % max(1, round(len(labels) / 20)) == 0:
            _turned_text(picture, label, int(MARGIN + i * step), base + 4)
    pen.line([MARGIN, base, WIDTH - MARGIN, base], fill="black")
    return picture


def _turned_text(picture: Image.Image, text: str, x: int, y: int) -> None:
    """Writes downwards, so that long labels fit below narrow bars."""
    label = Image.new("RGB", (2 * MARGIN - 8, 12), "white")
    ImageDraw.Draw(label).text((0, 0), text, fill="black")
    picture.paste(label.rotate(-90, expand=True), (x, y))
