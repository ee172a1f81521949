"""What pictures undergo on their way in: flip, [resize, crop], resize, known before a pixel is read."""

from typing import NamedTuple

import numpy as np


class Geometry(NamedTuple):
    """What happens to S samples (leading axis S, or none for a single one). Sizes are h, w in pixels."""

    original: np.ndarray
    """int32 [S, 2]"""
    flip: np.ndarray
    """bool [S], mirrored first."""
    resized: np.ndarray
    """int32 [S, 2], size after the first resize; the original one where nothing is cropped."""
    crop: np.ndarray
    """int32 [S, 4], x0, y0, w, h in the first-resized picture; all of it where nothing is cropped."""
    final: np.ndarray
    """int32 [S, 2], size after the last resize."""

    def at(self, sample: int | slice | np.ndarray) -> "Geometry":
        """The geometry of one sample, or of some."""
        return Geometry(*(field[sample] for field in self))
