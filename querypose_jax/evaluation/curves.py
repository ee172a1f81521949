"""A curve over the steps of a run as SVG, which any browser draws."""

from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 400, 200  # user units
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 26  # margins
LINE, GRID, TEXT = "#268bff", "#e4e4e8", "#5b606b"


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


def _text(text: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="11" fill="{TEXT}" text-anchor="{anchor}">{text}</text>'
