"""What a player makes of a stored frame: pixels are made square, then the display matrix turns and mirrors them."""

from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import UInt8

from querypose_jax.pictures import LARGEST_PICTURE

DISPLAY_MATRIX = "DISPLAYMATRIX"
FLATTEST_PIXEL = 4  # width : height; anamorphic films have up to 2, and what says more than this is taken for square


def shown(frame: Any, pixel: Fraction | None) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of a frame of PyAV as a player shows them.

    Args:
        frame: as decoded.
        pixel: width : height of a stored pixel (sample aspect ratio); None where the film does not tell.

    Raises:
        ValueError: more than LARGEST_PICTURE pixels, which a small file can be made to say.
    """
    width, height = square_size(frame.width, frame.height, pixel)
    if width * height > LARGEST_PICTURE:
        raise ValueError(f"a frame has {width} x {height} pixels, more than {LARGEST_PICTURE:,}")
    return upright(frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="BICUBIC"), frame)


def square_size(width: int, height: int, pixel: Fraction | None) -> tuple[int, int]:
    """Width and height of a stored frame with square pixels: its shorter-sampled side grows, so that none is lost."""
    if not pixel or not Fraction(1, FLATTEST_PIXEL) <= pixel <= FLATTEST_PIXEL:
        return width, height
    return (round(width * pixel), height) if pixel > 1 else (width, round(height / pixel))


def upright(pixels: UInt8[np.ndarray, "h w 3"], frame: Any) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of a frame of PyAV as a player shows them: turned by quarters and mirrored, all eight ways.

    The matrix (a b . c d . . . .) sends pixel (x, y) to (a x + c y, b x + d y). Any other angle is taken for the
    nearest quarter turn.
    """
    a, b, c, d = _matrix(frame)
    if abs(b) + abs(c) > abs(a) + abs(d):  # x and y change places
        pixels, mirrors = pixels.swapaxes(0, 1), (c < 0, b < 0)
    else:
        mirrors = (a < 0, d < 0)
    left_right, top_bottom = mirrors
    pixels = pixels[:, ::-1] if left_right else pixels
    pixels = pixels[::-1] if top_bottom else pixels
    return np.ascontiguousarray(pixels)


def _matrix(frame: Any) -> tuple[int, int, int, int]:
    """a, b, c, d in units of 2^-16; those of the identity where a frame tells nothing."""
    for data in frame.side_data:
        if data.type.name == DISPLAY_MATRIX:
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
            return a, b, c, d
    return 1, 0, 0, 1
