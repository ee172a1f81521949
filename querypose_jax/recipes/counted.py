"""Who of an annotation file SimplePose learns from, and where on a picture its losses count (released behaviour)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from querypose_jax.recipes.warp import COUNTED


def read_people(annotations: Sequence[Mapping[str, Any]], smallest_area: float) -> tuple[np.ndarray, np.ndarray]:
    """People with joints, crowds left out; those of `smallest_area` or less (where the file tells) have no labels.

    Args:
        annotations: of one picture, as in a COCO file.
        smallest_area: original pixels squared.

    Returns:
        float64 [P, K, 3]: x, y, visibility; float64 [P]: square root of the box's area.
    """
    people = [a for a in annotations if not a["iscrowd"] and a["num_keypoints"] > 0]
    joints = np.array([a["keypoints"] for a in people], np.float64).reshape(len(people), -1, 3)
    is_small = np.array([is_below(a, smallest_area) for a in people], bool)
    joints[is_small, :, 2] = 0
    return joints, np.array([math.sqrt(a["bbox"][2] * a["bbox"][3]) for a in people])


def counted_mask(
    annotations: Sequence[Mapping[str, Any]],
    segments: Iterable[np.ndarray],
    size: tuple[int, int],
    smallest_area: float,
) -> np.ndarray:
    """uint8 [h, w], 255 where losses count: everywhere but on people without labels and in crowds.

    Of a crowd the people listed before it are taken out; of several crowds (where the release stops) all count.

    Args:
        annotations: of one picture, in the order of the file.
        segments: bool [h, w] for each.
        size: h, w of the picture.
        smallest_area: as in `read_people`.
    """
    is_left_out, is_somebody = np.zeros(size, bool), np.zeros(size, bool)
    for annotation, segment in zip(annotations, segments, strict=True):
        if annotation["iscrowd"]:
            is_left_out |= segment & ~is_somebody
            continue
        is_somebody |= segment
        if is_left_alone(annotation, smallest_area):
            is_left_out |= segment
    return np.where(is_left_out, 0, COUNTED).astype(np.uint8)


def is_left_alone(annotation: Mapping[str, Any], smallest_area: float) -> bool:
    """Whether somebody, or a crowd, is on the picture of whom nothing is to be learnt."""
    return bool(annotation["iscrowd"]) or annotation["num_keypoints"] <= 0 or is_below(annotation, smallest_area)


def is_below(annotation: Mapping[str, Any], smallest_area: float) -> bool:
    """Whether a person is too small, as far as the file tells."""
    return annotation.get("area", math.inf) <= smallest_area
