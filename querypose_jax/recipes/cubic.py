"""Cubic interpolation with the kernel of OpenCV and PyTorch (a = -0.75; Pillow's has -0.5 and -1), in numpy.

Positions are exact: OpenCV 3 and 4 round them to 1/32 pixel when warping, OpenCV 5 does not. Where OpenCV 5 is
installed (extra `train`) it warps; it is some forty times as fast and gives the same pixels to one grey level.
"""

import functools
from collections.abc import Sequence
from types import ModuleType

import numpy as np

CUBIC_A = -0.75
TAPS = np.arange(-1, 3)  # of the pixel left of a position


def cubic_kernel(distance: np.ndarray, a: float = CUBIC_A) -> np.ndarray:
    """Keys' cubic kernel."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def as_pixels(values: np.ndarray) -> np.ndarray:
    """Rounded and clipped to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def cubic_resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [h, w, 3] -> uint8 [height, width, 3], without antialias: what OpenCV's INTER_CUBIC does, to one level."""
    if picture.shape[:2] == (height, width):
        return picture
    rows = resize_rows(picture.astype(np.float32), height)
    return as_pixels(resize_rows(rows.swapaxes(0, 1), width).swapaxes(0, 1))


def resize_rows(values: np.ndarray, size: int) -> np.ndarray:
    """[n, ...] -> [size, ...] along the first axis; half-pixel centres, clamped border."""
    count = len(values)
    position = (np.arange(size) + 0.5) * count / size - 0.5
    first = np.floor(position).astype(np.int64)
    out = np.zeros((size, *values.shape[1:]), np.float32)
    for tap in TAPS:
        weight = cubic_kernel(position - first - tap).astype(np.float32)
        out += weight.reshape(-1, *[1] * (values.ndim - 1)) * values[np.clip(first + tap, 0, count - 1)]
    return out


def warp_pixels(
    picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: tuple[float, ...]
) -> np.ndarray:
    """A picture moved by an affine map, rounded and clipped.

    Args:
        picture: uint8 [h, w, C] with 1 or 3 channels.
        matrix: [3, 3], pixel of the picture (x, y, 1) -> pixel of the result.
        size: height and width of the result.
        border: C numbers around the picture.

    Returns:
        uint8 [height, width, C].
    """
    cv2 = opencv()
    if cv2 is None:
        return as_pixels(cubic_warp(picture, np.linalg.inv(matrix)[:2], size, border))
    how = dict(flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    warped = cv2.warpAffine(picture, np.asarray(matrix[:2], np.float64), size[::-1], **how)
    return warped.reshape(*size, -1)


@functools.cache
def opencv() -> ModuleType | None:
    """OpenCV from version 5 on, None where it is not installed. One thread: the loader has threads of its own."""
    try:
        import cv2
    except ImportError:
        return None
    if int(cv2.__version__.split(".")[0]) < 5:
        return None
    cv2.setNumThreads(1)
    return cv2


def cubic_warp(picture: np.ndarray, inverse: np.ndarray, size: tuple[int, int], border: Sequence[float]) -> np.ndarray:
    """A picture moved by an affine map; beyond the picture every tap of the kernel reads the border colour.

    Args:
        picture: uint8 [h, w, C].
        inverse: [2, 3], pixel of the result (x, y, 1) -> pixel of the picture; whole numbers are pixel centres.
        size: height and width of the result.
        border: C numbers.

    Returns:
        float32 [height, width, C], neither rounded nor clipped.
    """
    height, width, channels = picture.shape
    padded = np.empty((height + 2, width + 2, channels), np.float32)
    padded[:] = border
    padded[1:-1, 1:-1] = picture
    y, x = np.indices(size).reshape(2, -1)
    (a, b, c), (d, e, f) = np.asarray(inverse, np.float64)
    x, y = a * x + b * y + c, d * x + e * y + f
    inside = (x > -2) & (x < width + 1) & (y > -2) & (y < height + 1)
    out = np.empty((x.size, channels), np.float32)
    out[:] = border
    out[inside] = interpolate(padded, x[inside], y[inside])
    return out.reshape(*size, channels)


def interpolate(padded: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[N, C] at positions of a picture that has one pixel of border on each side; further taps read the border, too."""
    height, width, channels = padded.shape
    pixels = padded.reshape(-1, channels)
    (columns, x_weights), (rows, y_weights) = taps(x, width), taps(y, height)
    out = np.zeros((x.size, channels), np.float32)
    for row, y_weight in zip(rows, y_weights, strict=True):
        first = row * width
        along = np.zeros_like(out)
        for column, x_weight in zip(columns, x_weights, strict=True):
            along += pixels.take(first + column, axis=0) * x_weight[:, None]
        out += along * y_weight[:, None]
    return out


def taps(position: np.ndarray, padded_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in the padded axis and weights of the four neighbours of positions [N], [4, N] each."""
    left = np.floor(position)
    share = position - left
    weights = cubic_kernel(share - TAPS[:, None]).astype(np.float32)
    places = np.clip(left.astype(np.int64) + TAPS[:, None], -1, padded_size - 2) + 1
    return places, weights
