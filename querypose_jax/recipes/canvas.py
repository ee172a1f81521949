"""Pictures of any size on canvases of few sizes: one compiled program each."""

from collections.abc import Sequence

import numpy as np
from PIL import Image


def choose_canvas(
    height: int, width: int, canvases: Sequence[tuple[int, int]], step: int, exact: bool = False
) -> tuple[int, int]:
    """The canvas (height, width in pixels) on which a resized picture is evaluated or predicted.

    The smallest of `canvases` that holds it; its sides rounded up to multiples of the recipe's `step` where none does
    and where `exact` (config.eval.canvas="exact", the released protocol).
    """
    holding = [(h * w, h, w) for h, w in canvases if h >= height and w >= width]
    if holding and not exact:
        return min(holding)[1:]
    return -(-height // step) * step, -(-width // step) * step


def place_on_canvas(picture: np.ndarray | Image.Image, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3] with the picture at the top left and zeros elsewhere."""
    canvas = np.zeros((height, width, 3), np.uint8)
    lay_on(canvas, picture)
    return canvas


def lay_on(canvas: np.ndarray, picture: np.ndarray | Image.Image) -> None:
    """Writes a picture to the top left of a canvas, uint8 [H, W, 3]."""
    pixels = np.asarray(picture)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
