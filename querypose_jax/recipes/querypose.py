"""The recipe of the released QueryPose: flip, [resize, crop], resize, in this order.

Coordinates are continuous: the top-left corner of the top-left pixel is (0, 0), so half a pixel is added to the joints
of a file. Sizes are rounded to the nearest (resize.py).
"""

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.recipes import geometry as chain
from querypose_jax.recipes.geometry import (
    DRAWS,
    Geometry,
    area_scale,
    inverse_affine,
    move_boxes,
    move_points,
    transform_picture,
)
from querypose_jax.recipes.recipe import AREA_OF_BOX, Facts, MovedPeople, People, Recipe, is_on_picture
from querypose_jax.recipes.resize import resized_shape
from querypose_jax.skeletons import Skeleton

CANVAS_STEP = 32  # pixels: the coarsest stride of the backbones
HALF_PIXEL = 0.5  # from a pixel's index to its centre
EMPTY_SIDE = 1e-5  # pixels; a clipped box this thin is gone (official)


def resized_shapes(sizes: np.ndarray, short: np.ndarray | int, longest: float) -> np.ndarray:
    """`resized_shape` of many: h, w int [S, 2], the short side of each or of all -> int64 [S, 2]."""
    wanted = np.broadcast_to(short, len(sizes)).tolist()
    shapes = [resized_shape(h, w, s, longest) for (h, w), s in zip(sizes.tolist(), wanted, strict=True)]
    return np.array(shapes, np.int64).reshape(-1, 2)


def draw_geometry(uniform: np.ndarray, sizes: np.ndarray, data: ConfigDict) -> Geometry:
    """The official random augmentation; arguments as in `geometry.draw_geometry`."""
    return chain.draw_geometry(uniform, sizes, data, resized_shapes)


def rest_geometry(sizes: np.ndarray, data: ConfigDict) -> Geometry:
    """No chance involved: only the last resize, as in evaluation. `sizes` is int [S, 2]."""
    return chain.resize_geometry(sizes, data.eval_short_side, data.longest_side, resized_shapes)


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
    xy = move_points(keypoints[..., :2] + HALF_PIXEL, geometry)
    inside = ((xy >= 0) & (xy <= geometry.final[:, None, ::-1])).all(-1)
    is_labelled = inside & (keypoints[..., 2] > 0)
    moved = np.where(is_labelled[..., None], np.concatenate([xy, keypoints[..., 2:]], -1), 0.0)
    mirrored = moved[:, list(skeleton.flip_index)]
    return np.where(geometry.flip[:, None, None], mirrored, moved).astype(np.float32)


def move_people(people: People, geometry: Geometry, skeleton: Skeleton) -> MovedPeople:
    """Boxes and joints through the geometry of each person's sample; areas scale, crops do not cut them."""
    boxes = move_boxes(people.boxes, geometry)
    of_box = AREA_OF_BOX * (people.boxes[:, 2] - people.boxes[:, 0]) * (people.boxes[:, 3] - people.boxes[:, 1])
    area = np.where(np.isnan(people.area), of_box, people.area)
    moved_area = (area * area_scale(geometry)).astype(np.float32)
    return MovedPeople(boxes, move_keypoints(people.keypoints, geometry, skeleton), moved_area, is_box_left(boxes))


def is_target(facts: Facts, data: ConfigDict) -> np.ndarray:
    """bool [O]: no crowd, a box with an area on the picture; people without labelled joints train class and box. With
    data.drop_degenerate_polygons (official) nobody whose polygons all have fewer than three points."""
    kept = ~facts.is_crowd & is_on_picture(facts)
    return kept & ~facts.is_degenerate if data.drop_degenerate_polygons else kept


def is_usable(facts: Facts, is_target: np.ndarray) -> np.ndarray:
    """bool [P]: pictures with somebody to train on."""
    return np.bincount(facts.picture_of_object[is_target], minlength=len(facts.size)) > 0


RECIPE = Recipe(
    draws=DRAWS,
    canvas_step=CANVAS_STEP,
    draw_geometry=draw_geometry,
    rest_geometry=rest_geometry,
    transform_picture=transform_picture,
    move_people=move_people,
    inverse_affine=inverse_affine,
    is_target=is_target,
    is_usable=is_usable,
    half_pixel=HALF_PIXEL,
)
