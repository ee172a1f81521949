"""The recipe of ED-Pose and Group Pose: what happens to a picture and its people on the way in.

The chain is DETR's: flip, [resize, crop], resize (the released codes share it to the letter). Joints are pixel indices
here and in the batch, as in a COCO file: nothing is added, and `decode` adds the half pixel that `Poses` want after
mapping to original pixels. Boxes are continuous.

QueryPose's recipe is the same chain with the same draws. It differs in the rounding of sizes, in joints (continuous;
those outside lose their label), in the area after a crop (scaled, never replaced), in who is trained on (also people
without joints), in when a box is gone (thinner than 1e-5 pixels, also without a crop) and in the canvas step (32).
"""

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.recipes import geometry as chain
from querypose_jax.recipes.geometry import DRAWS, Geometry, clipped_boxes, move_boxes, move_points, transform_picture
from querypose_jax.recipes.recipe import Facts, MovedPeople, People, Recipe, is_on_picture
from querypose_jax.skeletons import Skeleton

CANVAS_STEP = 1  # pixels: released batches are as large as their largest picture
MIRROR_OFFSET = 1.0  # of pixel indices: the first pixel, 0, goes to the last one, width - 1


def resized_shapes(sizes: np.ndarray, short: np.ndarray | int, longest: float) -> np.ndarray:
    """Heights and widths after scaling short sides to `short` with long sides at about `longest`.

    DETR's rule: where the long side would exceed the limit, the short side becomes round(longest * short side / long
    side), halves to even; the long side follows, rounded down. It may exceed the limit by half the aspect ratio (97 x
    436 at 800 and 1333 becomes 297 x 1334). One pixel at least stays of the short side, which the release does not see
    to; then the long side is the limit. QueryPose's rule (`pictures.resized_shape`) rounds both sides to the nearest.

    Args:
        sizes: int [S, 2], h, w.
        short: int [S], or one for all.
        longest: pixels; inf is no limit.

    Returns:
        int64 [S, 2], h, w.
    """
    low, high = sizes.min(-1).astype(np.int64), sizes.max(-1).astype(np.int64)
    # Where the limit does not bind, the rounded side is `short` or more.
    new_low = np.minimum(short, np.rint(longest * low / high)).astype(np.int64)
    new_high = np.where(new_low > 0, new_low * high // low, np.minimum(longest, high).astype(np.int64))
    new_low = np.maximum(new_low, 1)
    is_portrait = sizes[:, 0] >= sizes[:, 1]
    return np.where(is_portrait[:, None], np.stack([new_high, new_low], -1), np.stack([new_low, new_high], -1))


def draw_geometry(uniform: np.ndarray, sizes: np.ndarray, data: ConfigDict) -> Geometry:
    """The random augmentation of training; arguments as in `geometry.draw_geometry`.

    Path A of the release is a geometry without a crop, path B, taken with probability data.crop, one with. The release
    crops banners too; here they take path A (LARGEST_CROPPED_ASPECT), and a picture smaller than the crop stays whole.
    """
    return chain.draw_geometry(uniform, sizes, data, resized_shapes)


def rest_geometry(sizes: np.ndarray, data: ConfigDict) -> Geometry:
    """Evaluation and prediction, the released protocol: only resized. `sizes` is int [S, 2]."""
    return chain.resize_geometry(sizes, data.eval_short_side, data.longest_side, resized_shapes)


def move_keypoints(keypoints: np.ndarray, geometry: Geometry, skeleton: Skeleton) -> np.ndarray:
    """Keypoints of a COCO file -> network pixels; both are pixel indices.

    A flip takes x to width - 1 - x, one pixel off the boxes' width - x (released), and exchanges left and right. A crop
    *clamps joints to its borders and keeps their labels* (released): what lies outside is supervised at the border.
    Without a crop nothing is clamped. Joints without a label are all zero, where the release moves its zeros along.

    Args:
        keypoints: float64 [S, K, 3], x, y, visibility.
    Returns:
        float32 [S, K, 3]
    """
    xy = move_points(keypoints[..., :2], geometry, MIRROR_OFFSET)
    clamped = np.clip(xy, 0, geometry.final[:, None, ::-1])
    xy = np.where(geometry.is_cropped[:, None, None], clamped, xy)
    moved = np.where(keypoints[..., 2:] > 0, np.concatenate([xy, keypoints[..., 2:]], -1), 0.0)
    mirrored = moved[:, list(skeleton.flip_index)]
    return np.where(geometry.flip[:, None, None], mirrored, moved).astype(np.float32)


def inverse_affine(geometry: Geometry) -> np.ndarray:
    """float32 [S, 2, 3]: maps pixel indices [x, y, 1] of the network's input to those of the file.

    Where a picture is flipped, boxes come out one pixel too far left: their flip is another one. Evaluation and
    prediction do not flip.
    """
    return chain.inverse_affine(geometry, MIRROR_OFFSET)


def move_area(area: np.ndarray, boxes: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Areas -> network pixels squared: the annotated one, or that of the clipped box after a crop.

    Args:
        area: float64 [S], segment areas in the file; NaN where it has none (CrowdPose): the box stands in.
        boxes: float64 [S, 4], xyxy, original pixels.
    Returns:
        float32 [S]
    """
    moved = clipped_boxes(boxes, geometry)
    of_box = (moved[:, 2:] - moved[:, :2]).prod(-1)
    is_replaced = geometry.is_cropped | np.isnan(area)
    return np.where(is_replaced, of_box, area * chain.area_scale(geometry)).astype(np.float32)


def is_box_left(boxes: np.ndarray) -> np.ndarray:
    """bool [S] of moved boxes [S, 4]: False where a crop has left nothing; such people are dropped."""
    return np.all(boxes[:, 2:] > boxes[:, :2], axis=-1)


def move_people(people: People, geometry: Geometry, skeleton: Skeleton) -> MovedPeople:
    """Boxes, joints and areas through the geometry of each person's sample."""
    boxes = move_boxes(people.boxes, geometry)
    joints = move_keypoints(people.keypoints, geometry, skeleton)
    return MovedPeople(boxes, joints, move_area(people.area, people.boxes, geometry), is_box_left(boxes))


def is_target(facts: Facts, data: ConfigDict) -> np.ndarray:
    """bool [O]: no crowd, somebody with labelled joints, a box that lies at least partly on the picture.

    The number of joints is that of the file, which does not count CrowdPose's head and neck.
    """
    return ~facts.is_crowd & (facts.num_keypoints > 0) & is_on_picture(facts)


def is_usable(facts: Facts, is_target: np.ndarray) -> np.ndarray:
    """bool [P]: pictures on which any annotation, be it a crowd, counts labelled joints.

    So a picture without targets may be among them (released).
    """
    return np.bincount(facts.picture_of_object, facts.num_keypoints, minlength=len(facts.size)) > 0


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
)
