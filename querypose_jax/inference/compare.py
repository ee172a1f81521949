"""Predicted people against labelled ones: OKS, who is who, and a picture that shows both."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from querypose_jax.inference.draw import draw_poses
from querypose_jax.inference.panels import enlarge, side_by_side
from querypose_jax.skeletons import Skeleton

NOBODY = -1


class Labelled(NamedTuple):
    """The m labelled people of one picture, original pixels."""

    boxes: Float[np.ndarray, "m 4"]
    """xyxy."""
    keypoints: Float[np.ndarray, "m K 3"]
    """x, y (continuous: 0.5 is a pixel's centre), visibility 0, 1 or 2."""
    areas: Float[np.ndarray, " m"]
    """Segment areas, pixels squared."""


class Found(NamedTuple):
    """The n predicted people of one picture, original pixels."""

    scores: Float[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    keypoints: Float[np.ndarray, "n K 2"]
    keypoint_scores: Float[np.ndarray, "n K"]


def labelled_people(annotations: list[dict], num_keypoints: int) -> Labelled:
    """COCO annotations of one picture; crowds are left out. COCO counts joints in pixel indices: 0.5 is added."""
    people = [person for person in annotations if not person.get("iscrowd", 0)]
    boxes = np.array([person["bbox"] for person in people], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    keypoints = np.array([person["keypoints"] for person in people], float).reshape(-1, num_keypoints, 3)
    keypoints[..., :2] += 0.5 * (keypoints[..., 2:] > 0)
    return Labelled(boxes, keypoints, np.array([person["area"] for person in people], float))


def object_keypoint_similarity(
    keypoints: Float[np.ndarray, "n K 2"], labelled: Labelled, skeleton: Skeleton
) -> Float[np.ndarray, "n m"]:
    """OKS of each prediction with each labelled person (Ronchi & Perona 2017), the mean over labelled joints.

    People without a labelled joint have similarity 0 with everybody.
    """
    scale = 2 * np.square(2 * np.array(skeleton.sigmas)) * (labelled.areas[:, None] + np.spacing(1))  # m K
    squared = np.square(keypoints[:, None] - labelled.keypoints[None, :, :, :2]).sum(-1)  # n m K
    is_labelled = labelled.keypoints[..., 2] > 0
    near = np.exp(-squared / scale) * is_labelled
    return near.sum(-1) / np.maximum(is_labelled.sum(-1), 1)


def assign(
    scores: Float[np.ndarray, " n"], similarity: Float[np.ndarray, "n m"], smallest: float = 0.1
) -> Int[np.ndarray, " m"]:
    """The prediction of each labelled person, or NOBODY: the most confident prediction takes the nearest person that
    is left, as in the COCO protocol, down to an OKS of `smallest`."""
    taken_by = np.full(similarity.shape[1], NOBODY)
    for i in np.argsort(-scores, kind="stable"):
        free = np.where(taken_by == NOBODY, similarity[i], -1.0)
        if len(free) and free.max() >= smallest:
            taken_by[free.argmax()] = i
    return taken_by


def picture_quality(found: Found, labelled: Labelled, skeleton: Skeleton, threshold: float) -> float:
    """How well a picture is understood, 0 to 1: the sum of OKS over its pairs, divided by all there is in it.

    All there is: labelled people (with labelled joints), and predictions above the threshold that are nobody. A
    picture without either is understood.
    """
    kept = found.scores >= threshold
    similarity = object_keypoint_similarity(found.keypoints[kept], labelled, skeleton)
    taken_by = assign(found.scores[kept], similarity)
    is_taken = taken_by != NOBODY
    people = int(((labelled.keypoints[..., 2] > 0).any(-1)).sum())
    everything = people + int(kept.sum()) - int(is_taken.sum())
    return float(similarity[taken_by[is_taken], np.flatnonzero(is_taken)].sum() / everything) if everything else 1.0


def draw_comparison(
    picture: Image.Image, found: Found, labelled: Labelled, skeleton: Skeleton, threshold: float
) -> Image.Image:
    """Two panels: the labelled people, and the predicted ones with the OKS of each (or "nobody").

    Labelled people whom no prediction has found say "missed".
    """
    kept = found.scores >= threshold
    scores, boxes, keypoints, keypoint_scores = (np.asarray(field)[kept] for field in found)
    similarity = object_keypoint_similarity(keypoints, labelled, skeleton)
    taken_by = assign(scores, similarity)
    labels = [f"nobody  {score:.2f}" for score in scores]
    for person, i in enumerate(taken_by):
        if i != NOBODY:
            labels[i] = f"OKS {similarity[i, person]:.2f}  {scores[i]:.2f}"
    of_truth = ["missed" if i == NOBODY else "" for i in taken_by]
    visible = (labelled.keypoints[..., 2] > 0).astype(float)

    large, factor = enlarge(picture)
    everybody = np.ones(len(labelled.areas))
    truth = draw_poses(
        large,
        labelled.boxes * factor,
        labelled.keypoints[..., :2] * factor,
        visible,
        everybody,
        skeleton,
        labels=of_truth,
    )
    prediction = draw_poses(large, boxes * factor, keypoints * factor, keypoint_scores, scores, skeleton, labels=labels)
    return side_by_side([truth, prediction], ["labelled", "predicted: OKS, score"])
