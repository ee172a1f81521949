"""Films that lie on their side or in a mirror: the display matrix of a frame, applied as players do."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

DISPLAY_MATRIX = "DISPLAYMATRIX"


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
