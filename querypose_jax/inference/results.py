"""Poses as COCO results: the list of flat dicts that pycocotools and the COCO server read."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from querypose_jax.errors import UserError
from querypose_jax.structures import FILLER_ID, Poses

PIXEL_DECIMALS = 3  # of coordinates in results: far below what OKS can see, and half the size of the file
SCORE_DECIMALS = 5  # of joint scores; the person's own score, which ranks the results, is never rounded


def to_coco_results(poses: Poses, image_ids: Sequence[int], category_ids: Sequence[int]) -> list[dict]:
    """Numpy poses of B pictures -> one dict per reported person, picture by picture, in the order of the queries.

    Args:
        poses: numpy arrays with a leading B, original pixels.
        image_ids: [B], ids in the annotation file; FILLER_ID marks pictures whose people are dropped.
        category_ids: category id in the annotation file of class 0, 1, ...

    Returns:
        Dicts with image_id, category_id, score, bbox (x, y, w, h) and keypoints (x, y, joint score per joint).
        COCO counts joints in pixel indices, so 0.5 is taken off the continuous x and y.
    """
    results = []
    for b, image_id in enumerate(image_ids):
        if image_id != FILLER_ID:
            kept = np.flatnonzero(poses.valid[b])
            results += _picture_results(poses, b, kept, int(image_id), category_ids)
    return results


def whole_numbers(name: str, given: Iterable[Any]) -> list[int]:
    """Ids of any kind of whole number (Python's, numpy's, jax's) as Python's; UserError for anything else."""
    try:
        if isinstance(given, Mapping | set):
            raise TypeError("has no order")
        return [operator.index(number) for number in given]
    except TypeError:
        raise UserError(f"{name} {' '.join(repr(given).split())}: must be whole numbers") from None


def _picture_results(poses: Poses, b: int, kept: np.ndarray, image_id: int, category_ids: Sequence[int]) -> list[dict]:
    corners = poses.boxes[b][kept].astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], -1).round(PIXEL_DECIMALS)
    joints = (poses.keypoints[b][kept].astype(np.float64) - 0.5).round(PIXEL_DECIMALS)
    joint_scores = poses.keypoint_scores[b][kept].astype(np.float64).round(SCORE_DECIMALS)
    keypoints = np.concatenate([joints, joint_scores[..., None]], -1).reshape(len(kept), 3 * joints.shape[1])
    return [
        {
            "image_id": image_id,
            "category_id": int(category_ids[label]),
            "score": float(score),
            "bbox": box,
            "keypoints": keypoint,
        }
        for label, score, box, keypoint in zip(
            poses.labels[b][kept], poses.scores[b][kept], boxes.tolist(), keypoints.tolist(), strict=True
        )
    ]
