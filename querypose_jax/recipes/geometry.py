"""What recipes that resize, crop and resize again share: flip, [resize, crop], resize, in this order.

Everything a sample undergoes is one row of a `Geometry`, drawn before any pixel is read. Coordinates of many samples
move at once; pixels move one picture at a time with Pillow, whose bilinear filter on 8 bits the released codes use.
Recipes differ in how sizes are rounded (`SizeRule`) and in what becomes of joints, areas and people.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageOps

from querypose_jax.recipes.resize import resize

DRAWS = 8  # uniform numbers per sample that draw_geometry consumes
NO_LIMIT = float("inf")  # for the longest side of the resize before a crop
# Of pictures that are cropped: with the short side at 600 pixels a longer one would take more than 100 MB on the way.
LARGEST_CROPPED_ASPECT = 100

SizeRule = Callable[[np.ndarray, np.ndarray | int, float], np.ndarray]
"""(h, w of pictures int [S, 2], short side [S] or one for all, limit of the long side) -> resized int [S, 2]."""


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

    @property
    def is_cropped(self) -> np.ndarray:
        """bool [S]; a crop that is the whole picture at its original size counts as none."""
        whole = np.concatenate([np.zeros_like(self.original), self.original[..., ::-1]], -1)
        return (self.crop != whole).any(-1)


def draw_geometry(uniform: np.ndarray, sizes: np.ndarray, data: ConfigDict, resized_shapes: SizeRule) -> Geometry:
    """Turns uniform draws into a random augmentation.

    Args:
        uniform: float64 [S, DRAWS] in [0, 1), one row per sample.
        sizes: int [S, 2], h, w of the pictures.
        data: config.data (flip, crop, crop_short_sides, crop_sides, short_sides, longest_side).
        resized_shapes: how the recipe rounds sizes.
    """
    is_thin = sizes.max(-1) > LARGEST_CROPPED_ASPECT * sizes.min(-1)
    flip, crop = uniform[:, 0] < data.flip, (uniform[:, 1] < data.crop) & ~is_thin
    enlarged = resized_shapes(sizes, _choose(uniform[:, 2], data.crop_short_sides), NO_LIMIT)
    resized = np.where(crop[:, None], enlarged, sizes)
    smallest, largest = data.crop_sides
    low, high = np.minimum(resized, smallest), np.minimum(resized, largest)
    side = np.where(crop[:, None], low + _uniform_integer(uniform[:, 3:5], high - low), resized)
    corner = _uniform_integer(uniform[:, 5:7], resized - side)
    final = resized_shapes(side, _choose(uniform[:, 7], data.short_sides), data.longest_side)
    return _geometry(sizes, flip, resized, np.concatenate([corner[:, ::-1], side[:, ::-1]], -1), final)


def resize_geometry(sizes: np.ndarray, short: int, longest: float, resized_shapes: SizeRule) -> Geometry:
    """No chance involved: only the last resize, as in evaluation. `sizes` is int [S, 2]."""
    whole = np.concatenate([np.zeros_like(sizes), sizes[:, ::-1]], -1)
    return _geometry(sizes, np.zeros(len(sizes), bool), sizes, whole, resized_shapes(sizes, short, longest))


def _geometry(original, flip, resized, crop, final) -> Geometry:
    return Geometry(original.astype(np.int32), flip, *(a.astype(np.int32) for a in (resized, crop, final)))


def _choose(uniform: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return np.asarray(values)[(uniform * len(values)).astype(int)]


def _uniform_integer(uniform: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Uniform over 0..highest, both included."""
    return (uniform * (highest + 1)).astype(np.int64)


def transform_picture(picture: Image.Image, geometry: Geometry) -> Image.Image:
    """Applies one sample's geometry to its pixels."""
    if geometry.flip:
        picture = ImageOps.mirror(picture)
    if tuple(geometry.resized) != (picture.height, picture.width):
        picture = resize(picture, *geometry.resized.tolist())
    x0, y0, w, h = geometry.crop.tolist()
    if (w, h) != picture.size:
        picture = picture.crop((x0, y0, x0 + w, y0 + h))
    if tuple(geometry.final) != (picture.height, picture.width):
        picture = resize(picture, *geometry.final.tolist())
    return picture


def move_points(xy: np.ndarray, geometry: Geometry, mirror_offset: float = 0.0) -> np.ndarray:
    """Original pixels -> network pixels.

    Args:
        xy: float64 [S, ..., 2], points of each sample.
        geometry: of the same S samples (or of one, for float64 [..., 2]).
        mirror_offset: a flip takes x to width - mirror_offset - x: 0 for continuous coordinates, 1 for pixel indices.
    """
    spread = (slice(None),) * np.ndim(geometry.flip) + (None,) * (xy.ndim - 1 - np.ndim(geometry.flip))
    last_x, flip = geometry.original[..., 1][spread] - mirror_offset, geometry.flip[spread]
    x = np.where(flip, last_x - xy[..., 0], xy[..., 0])
    first, corner, last = (a[..., ::-1].astype(np.float64)[(*spread, slice(None))] for a in _scales(geometry))
    return (np.stack([x, xy[..., 1]], -1) * first - corner) * last


def _scales(geometry: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First scale, crop corner, last scale; y, x each."""
    first = geometry.resized / geometry.original
    last = geometry.final / geometry.crop[..., [3, 2]]
    return first, geometry.crop[..., [1, 0]], last


def move_boxes(boxes: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Boxes xyxy [S, 4] -> float32 [S, 4] around the moved corners, clipped to the final picture."""
    return clipped_boxes(boxes, geometry).astype(np.float32)


def clipped_boxes(boxes: np.ndarray, geometry: Geometry) -> np.ndarray:
    """What `move_boxes` returns, in float64."""
    corners = move_points(boxes.reshape(-1, 2, 2), geometry)
    limit = geometry.final[:, ::-1]
    low, high = (np.clip(c, 0, limit) for c in (corners.min(1), corners.max(1)))
    return np.concatenate([low, high], -1)


def area_scale(geometry: Geometry) -> np.ndarray:
    """float64 [S]: network pixels squared per original pixel squared."""
    first, _, last = _scales(geometry)
    return (first * last).prod(-1)


def inverse_affine(geometry: Geometry, mirror_offset: float = 0.0) -> np.ndarray:
    """float32 [S, 2, 3]: the inverse of `move_points`, maps network pixels [x, y, 1] to original pixels."""
    first, corner, last = (a[..., ::-1] for a in _scales(geometry))
    matrix = np.zeros((len(geometry.flip), 2, 3))
    matrix[:, [0, 1], [0, 1]] = 1 / (first * last)
    matrix[:, :, 2] = corner / first
    matrix[geometry.flip, 0] *= -1
    matrix[geometry.flip, 0, 2] += geometry.original[geometry.flip, 1] - mirror_offset
    return matrix.astype(np.float32)
