"""Deformable attention one sample at a time in plain numpy: slow, short, and meant to be checked by reading."""

from collections.abc import Sequence

import numpy as np


def sample(feature: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear value of feature [h, w, D] at a point in map units, cell centres at whole numbers; zeros off the map."""
    height, width, _ = feature.shape
    value = np.zeros_like(feature[0, 0])
    if not (-1 < x < width and -1 < y < height):
        return value
    left, top = int(np.floor(x)), int(np.floor(y))
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                value += feature[row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return value


def deformable_attention_oracle(
    values: np.ndarray, shapes: Sequence[tuple[int, int]], locations: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """See `kernels.deformable_attention.deformable_attention`; float64 [B, Q, heads * dim]."""
    pictures, queries, heads, _, points = weights.shape
    out = np.zeros((pictures, queries, heads, values.shape[-1]))
    starts = np.cumsum([0] + [height * width for height, width in shapes])
    for b, q, m in np.ndindex(pictures, queries, heads):
        for level, (height, width) in enumerate(shapes):
            tokens = values[b, starts[level] : starts[level + 1], m].astype(np.float64)
            feature = tokens.reshape(height, width, -1)
            for p in range(points):
                x, y = np.asarray(locations[b, q, m, level, p], np.float64) * (width, height) - 0.5
                out[b, q, m] += weights[b, q, m, level, p] * sample(feature, x, y)
    return out.reshape(pictures, queries, -1)
