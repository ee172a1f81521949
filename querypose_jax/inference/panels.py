"""Pictures beside and below each other, with captions; colour maps for maps of weights."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

PAPER, INK = (250, 250, 250), (30, 32, 38)
GAP = 8  # pixels between pictures
CAPTION = 26  # pixels, height of a line of text
SMALLEST_SIDE = 480  # pixels: smaller pictures are enlarged, so that lines and text on them can be seen
# Black over purple and orange to light yellow, even steps of lightness: readable in grey and by colour-blind eyes.
HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], float)


def enlarge(picture: Image.Image, side: int = SMALLEST_SIDE) -> tuple[Image.Image, float]:
    """The picture with its longer side at least `side` pixels, and by how much coordinates grow."""
    factor = max(side / max(picture.size), 1.0)
    if factor == 1.0:
        return picture, 1.0
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.BICUBIC), factor


def side_by_side(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """One row of pictures, a caption above each."""
    height = max(picture.height for picture in pictures)
    sheet = Image.new(
        "RGB", (sum(picture.width + GAP for picture in pictures) + GAP, height + CAPTION + 2 * GAP), PAPER
    )
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=0.6 * CAPTION)
    x = GAP
    for picture, caption in zip(pictures, captions, strict=True):
        brush.text((x, GAP + CAPTION / 2), caption, font=font, fill=INK, anchor="lm")
        sheet.paste(picture, (x, GAP + CAPTION))
        x += picture.width + GAP
    return sheet


def below_each_other(pictures: Sequence[Image.Image]) -> Image.Image:
    """One column of pictures."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    y = 0
    for picture in pictures:
        sheet.paste(picture, (0, y))
        y += picture.height
    return sheet


def heat(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colours of weights, the largest one brightest."""
    level = np.clip(values / max(float(values.max()), np.finfo(float).tiny), 0, 1)
    steps = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(level, steps, HEAT[:, c]) for c in range(3)], -1).round().astype(np.uint8)
