"""Curves as SVG, which any browser draws: a value over the steps of a run, shares over scores."""

from collections.abc import Mapping, Sequence

import numpy as np

WIDTH, HEIGHT = 400, 200  # user units
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 26  # margins
LINE, GRID, TEXT = "#268bff", "#e4e4e8", "#5b606b"
LINES = ("#268bff", "#e07a00", "#1e8f4e")
MOST_POINTS = 300  # of a line: more are not seen


def curve(points: Sequence[tuple[float, float]]) -> str:
    """An SVG element with axes. Points that are not finite are left out.

    Args:
        points: (step, value), at least two finite ones.
    """
    xy = np.array([point for point in points if np.isfinite(point).all()], float)
    (x0, y0), (x1, y1) = xy.min(0), xy.max(0)
    if y0 == y1:  # a flat line goes through the middle
        y0, y1 = y0 - 1, y1 + 1
    across = LEFT + (xy[:, 0] - x0) / max(x1 - x0, 1) * (WIDTH - LEFT - RIGHT)
    down = HEIGHT - BOTTOM - (xy[:, 1] - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    parts = [f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.6" stroke-linejoin="round"/>']
    for value, y in ((y0, HEIGHT - BOTTOM), ((y0 + y1) / 2, (HEIGHT - BOTTOM + TOP) / 2), (y1, TOP)):
        parts.insert(0, f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{GRID}"/>')
        parts.append(_text(f"{value:.3g}", LEFT - 6, y + 4, "end"))
    parts += [_text(f"{x0:.0f}", LEFT, HEIGHT - 8, "start"), _text(f"{x1:.0f}", WIDTH - RIGHT, HEIGHT - 8, "end")]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def shares(lines: Mapping[str, Sequence[tuple[float, float]]], mark: float) -> str:
    """An SVG element with up to three named lines on axes from 0 to 1.

    Args:
        lines: name -> (score, share) points along the line.
        mark: a score that gets a dashed line.
    """

    def across(x: float) -> float:
        return LEFT + x * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in (0, 0.5, 1):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down(tick)}" y2="{down(tick)}" stroke="{GRID}"/>')
        parts.append(_text(f"{tick:g}", LEFT - 6, down(tick) + 4, "end"))
        parts.append(_text(f"{tick:g}", across(tick), HEIGHT - 8, "middle"))
    dashed = f'stroke="{TEXT}" stroke-dasharray="3 3"'
    parts.append(f'<line x1="{across(mark):.1f}" x2="{across(mark):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" {dashed}/>')
    for (name, points), colour in zip(lines.items(), LINES, strict=False):
        few = points[:: max(len(points) // MOST_POINTS, 1)]
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in few)
        line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6">'
        parts.append(f"{line}<title>{name}</title></polyline>")
    for place, (name, colour) in enumerate(zip(lines, LINES, strict=False)):
        parts.append(_text(name, LEFT + 10 + 70 * place, HEIGHT - BOTTOM - 8, "start", colour))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def _text(text: str, x: float, y: float, anchor: str, colour: str = TEXT) -> str:
    return f'<text x="{x}" y="{y}" font-size="11" fill="{colour}" text-anchor="{anchor}">{text}</text>'
