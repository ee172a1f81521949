"""Swin's relative position biases for another window size."""

import numpy as np

SUFFIX = "relative_position_bias_table"
CUBIC = -0.75  # PyTorch's bicubic kernel, with which Swin's authors resize their tables


def window_of(rows: int) -> int | None:
    """The window size of a table of this many rows, (2 window - 1)^2; None where there is none."""
    side = round(rows**0.5)
    return (side + 1) // 2 if side * side == rows and side % 2 else None


def resize_table(table: np.ndarray, rows: int) -> np.ndarray:
    """A table [(2 w - 1)^2, heads] for window w interpolated (bicubic) to `rows` = (2 v - 1)^2 rows for window v.

    Both tables span the whole of their windows, so offsets are stretched with them, as the authors of Swin do it.
    """
    old, new = round(len(table) ** 0.5), round(rows**0.5)
    weights = cubic_weights(old, new)
    square = table.astype(np.float64).reshape(old, old, -1)
    resized = np.einsum("yi,xj,ijh->yxh", weights, weights, square)
    return resized.reshape(rows, -1).astype(table.dtype)


def cubic_weights(old: int, new: int) -> np.ndarray:
    """[new, old] weights of a bicubic interpolation with half-pixel centres; beyond the border the last value stays."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centres).astype(int)
    weights = np.zeros((new, old))
    for tap in (-1, 0, 1, 2):
        d = np.abs(centres - (first + tap))
        near = (CUBIC + 2) * d**3 - (CUBIC + 3) * d**2 + 1
        far = CUBIC * (d**3 - 5 * d**2 + 8 * d - 4)
        np.add.at(weights, (np.arange(new), np.clip(first + tap, 0, old - 1)), np.where(d <= 1, near, far))
    return weights
