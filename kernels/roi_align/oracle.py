"""RoIAlign one sample at a time in plain numpy: slow, short, and meant to be checked by reading."""

from collections.abc import Sequence

import numpy as np


def sample(feature: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear value of feature [h, w, C] at a point in map units; zero more than one pixel outside."""
    height, width, _ = feature.shape
    if not (-1 <= x <= width and -1 <= y <= height):
        return np.zeros_like(feature[0, 0])
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    top = feature[y0, x0] * (1 - fx) + feature[y0, x1] * fx
    bottom = feature[y1, x0] * (1 - fx) + feature[y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def roi_align_oracle(
    pyramid: Sequence[np.ndarray], boxes: np.ndarray, picture: np.ndarray, strides: Sequence[int], cells: int
) -> np.ndarray:
    """See `kernels.roi_align.roi_align`; float64 [Q, cells, cells, C]."""
    pooled = np.zeros((len(boxes), cells, cells, pyramid[0].shape[-1]))
    for q, (x0, y0, x1, y1) in enumerate(np.asarray(boxes, np.float64)):
        side = (x1 - x0) * (y1 - y0)
        level = sum(side >= (112 * 2**step) ** 2 for step in range(len(pyramid) - 1))
        feature = np.asarray(pyramid[level][picture[q]], np.float64)
        left, top = x0 / strides[level] - 0.5, y0 / strides[level] - 0.5
        cell_w, cell_h = (x1 - x0) / strides[level] / cells, (y1 - y0) / strides[level] / cells
        for row in range(cells):
            for column in range(cells):
                points = [
                    (left + (column + i) * cell_w, top + (row + j) * cell_h) for i in (0.25, 0.75) for j in (0.25, 0.75)
                ]
                pooled[q, row, column] = sum(sample(feature, x, y) for x, y in points) / 4
    return pooled
