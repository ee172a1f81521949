"""The official augmentation on pictures, boxes and keypoints: flip, [resize, crop], resize, in this order.

Everything a sample undergoes is one row of a `Geometry`, drawn before any pixel is read. Coordinates of many samples
move at once; pixels move one picture at a time with Pillow, whose bilinear filter on 8 bits the released code uses.
Coordinates are continuous: the top-left corner of the top-left pixel is (0, 0).
"""

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageOps

from querypose_jax.recipes.geometry import Geometry
from querypose_jax.recipes.resize import resize, resized_shape
from querypose_jax.skeletons import Skeleton

DRAWS = 8  # uniform numbers per sample that draw_geometry consumes
NO_LIMIT = float("inf")  # for the longest side of the resize before a crop
# Of pictures that are cropped: with the short side at 600 pixels a longer one would take more than 100 MB on the way.
LARGEST_CROPPED_ASPECT = 100
EMPTY_SIDE = 1e-5  # pixels; a clipped box this thin is gone (official)


def draw_geometry(uniform: np.ndarray, sizes: np.ndarray, data: ConfigDict) -> Geometry:
    """Turns uniform draws into the official random augmentation.

    Args:
        uniform: float64 [S, DRAWS] in [0, 1), one row per sample.
        sizes: int [S, 2], h, w of the pictures.
        data: config.data (flip, crop, crop_short_sides, crop_sides, short_sides, longest_side).
    """
    is_thin = sizes.max(-1) > LARGEST_CROPPED_ASPECT * sizes.min(-1)
    flip, crop = uniform[:, 0] < data.flip, (uniform[:, 1] < data.crop) & ~is_thin
    crop_short = _choose(uniform[:, 2], data.crop_short_sides)
    short = _choose(uniform[:, 7], data.short_sides)
    resized = np.array([resized_shape(h, w, s, NO_LIMIT) for (h, w), s in zip(sizes.tolist(), crop_short, strict=True)])
    resized = np.where(crop[:, None], resized.reshape(-1, 2), sizes)
    smallest, largest = data.crop_sides
    low, high = np.minimum(resized, smallest), np.minimum(resized, largest)
    side = np.where(crop[:, None], low + _uniform_integer(uniform[:, 3:5], high - low), resized)
    corner = _uniform_integer(uniform[:, 5:7], resized - side)
    final = [resized_shape(h, w, s, data.longest_side) for (h, w), s in zip(side.tolist(), short, strict=True)]
    whole = np.concatenate([corner[:, ::-1], side[:, ::-1]], -1)
    return _geometry(sizes, flip, resized, whole, np.array(final).reshape(-1, 2))


def resize_geometry(sizes: np.ndarray, short: int, longest: float) -> Geometry:
    """No chance involved: only the last resize, as in evaluation. `sizes` is int [S, 2]."""
    final = np.array([resized_shape(h, w, short, longest) for h, w in sizes.tolist()]).reshape(-1, 2)
    corner = np.zeros_like(final)
    return _geometry(sizes, np.zeros(len(sizes), bool), sizes, np.concatenate([corner, sizes[:, ::-1]], -1), final)


def _geometry(original, flip, resized, crop, final) -> Geometry:
    return Geometry(original.astype(np.int32), flip, *(np.asarray(a, np.int32) for a in (resized, crop, final)))


def _choose(uniform: np.ndarray, values: tuple[int, ...]) -> list[int]:
    return [values[i] for i in (uniform * len(values)).astype(int)]


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


def move_points(xy: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Original pixels -> network pixels.

    Args:
        xy: float64 [S, ..., 2], points of each sample.
        geometry: of the same S samples (or of one, for float64 [..., 2]).
    """
    spread = (slice(None),) * np.ndim(geometry.flip) + (None,) * (xy.ndim - 1 - np.ndim(geometry.flip))
    width, flip = geometry.original[..., 1][spread], geometry.flip[spread]
    x = np.where(flip, width - xy[..., 0], xy[..., 0])
    scale, offset, last = (a[..., ::-1].astype(np.float64) for a in _scales(geometry))
    moved = np.stack([x, xy[..., 1]], -1)
    return (moved * scale[(*spread, slice(None))] - offset[(*spread, slice(None))]) * last[(*spread, slice(None))]


def _scales(geometry: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First scale, crop corner, last scale; y, x each."""
    first = geometry.resized / geometry.original
    last = geometry.final / geometry.crop[..., [3, 2]]
    return first, geometry.crop[..., [1, 0]], last


def move_boxes(boxes: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Boxes xyxy [S, 4] -> float32 [S, 4] around the moved corners, clipped to the final picture."""
    corners = move_points(boxes.reshape(-1, 2, 2), geometry)
    limit = geometry.final[:, None, ::-1]
    low, high = (np.clip(c, 0, limit[:, 0]) for c in (corners.min(1), corners.max(1)))
    return np.concatenate([low, high], -1).astype(np.float32)


def is_box_left(boxes: np.ndarray) -> np.ndarray:
    """bool [S]: False where clipping has left nothing of a box."""
    return (boxes[:, 2:] - boxes[:, :2] > EMPTY_SIDE).all(-1)


def move_keypoints(keypoints: np.ndarray, geometry: Geometry, skeleton: Skeleton) -> np.ndarray:
    """Keypoints of a COCO file -> network pixels.

    Adds the half pixel between a pixel's index and its centre. What leaves the final picture (borders inclusive) loses
    its label; whatever has none is all zero. Mirroring exchanges left and right.

    Args:
        keypoints: float64 [S, K, 3], x, y, visibility.
    Returns:
        float32 [S, K, 3]
    """
    xy = move_points(keypoints[..., :2] + 0.5, geometry)
    inside = ((xy >= 0) & (xy <= geometry.final[:, None, ::-1])).all(-1)
    is_labelled = inside & (keypoints[..., 2] > 0)
    moved = np.where(is_labelled[..., None], np.concatenate([xy, keypoints[..., 2:]], -1), 0.0)
    mirrored = moved[:, list(skeleton.flip_index)]
    return np.where(geometry.flip[:, None, None], mirrored, moved).astype(np.float32)


def area_scale(geometry: Geometry) -> np.ndarray:
    """float64 [S]: network pixels squared per original pixel squared."""
    first, _, last = _scales(geometry)
    return (first * last).prod(-1)


def inverse_affine(geometry: Geometry) -> np.ndarray:
    """float32 [S, 2, 3]: maps network pixels [x, y, 1] to original pixels."""
    first, corner, last = (a[..., ::-1] for a in _scales(geometry))
    matrix = np.zeros((len(geometry.flip), 2, 3))
    matrix[:, [0, 1], [0, 1]] = 1 / (first * last)
    matrix[:, :, 2] = corner / first
    matrix[geometry.flip, 0] *= -1
    matrix[geometry.flip, 0, 2] += geometry.original[geometry.flip, 1]
    return matrix.astype(np.float32)
