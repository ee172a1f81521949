"""SimplePose's pictures at test time: scaled to a long side or a height, padded with the mean colour (as released)."""

from typing import NamedTuple

import numpy as np

from querypose_jax.recipes.cubic import cubic_resize
from querypose_jax.recipes.warp import BORDER_COLOUR

RULES = ("long", "height")


class Fit(NamedTuple):
    """Where a picture lies on its canvas, in pixels."""

    resized: tuple[int, int]
    """h, w"""
    corner: tuple[int, int]
    """x, y of the picture's top left."""
    canvas: tuple[int, int]
    """h, w"""


def fit_size(height: int, width: int, rule: str, length: int, multiple: int) -> Fit:
    """How a picture is fitted.

    Args:
        height, width: of the picture.
        rule: "long" = the long side becomes `length`, the picture lies in the middle of a square; "height" = the height
            does, the picture lies at the top left.
        length: pixels.
        multiple: of which the canvas' sides are with rule "height": the step of the network.
    """
    if rule == "long":
        scale = length / max(height, width)  # the quotient first, as released: int(w * length / h) can be one more
        short = max(int(min(height, width) * scale), 1)
        resized = (length, short) if height > width else (short, length)
        return Fit(resized, ((length - resized[1]) // 2, (length - resized[0]) // 2), (length, length))
    resized = (length, max(int(width * (length / height)), 1))
    return Fit(resized, (0, 0), tuple(-(-side // multiple) * multiple for side in resized))


def fit_picture(picture: np.ndarray, fit: Fit) -> np.ndarray:
    """uint8 [h, w, 3] -> uint8 [H, W, 3], the whole canvas."""
    out = np.empty((*fit.canvas, 3), np.uint8)
    out[:] = BORDER_COLOUR
    (x, y), (height, width) = fit.corner, fit.resized
    out[y : y + height, x : x + width] = cubic_resize(picture, height, width)
    return out


def inverse_affine(fit: Fit, height: int, width: int) -> np.ndarray:
    """float32 [2, 3]: network pixels [x, y, 1] to pixels of the picture; first to first and last to last pixel."""
    scale = [(old - 1) / max(new - 1, 1) for old, new in ((width, fit.resized[1]), (height, fit.resized[0]))]
    shift = [-scale[axis] * fit.corner[axis] for axis in (0, 1)]
    return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]], np.float32)
