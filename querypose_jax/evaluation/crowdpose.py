"""The CrowdPose protocol on the machinery of COCO's: what the CrowdPose API does differently, and nothing else.

A person's area is 0.53 x width x height of the box, whatever the annotation says; beside the averages over all pictures
there is AP by how crowded a picture is; medium and large people are not told apart.
"""

from collections.abc import Sequence

import numpy as np

from querypose_jax.evaluation.coco import (
    KEYPOINT_STATS,
    Scorer,
    accumulate,
    check_joints,
    get_scorer,
    prepare,
    summarize,
)  # fmt: skip
from querypose_jax.skeletons import Skeleton

AREA_OF_BOX = 0.53
STATS = ("AP", "AP50", "AP75", "AR", "AR50", "AR75")
CROWDING = {"APeasy": (-np.inf, 0.2), "APmedium": (0.2, 0.8), "APhard": (0.8, np.inf)}  # crowdIndex from, below
DECIMALS = 4  # of those three: the API rounds


def crowdpose_metrics(
    ground_truth: dict, results: Sequence[dict], skeleton: Skeleton, scorer: Scorer | None = None
) -> dict[str, float]:
    """keypoint/AP, AP50, AP75, AR, AR50, AR75 of all pictures, and APeasy, APmedium, APhard by `crowdIndex`.

    `num_keypoints` is used as it is: CrowdPose counts the 12 limb joints in it, so that a person with only head or neck
    labelled is ignored. Pictures without `crowdIndex` are in none of the three groups.

    Arguments, values and errors as in `coco.keypoint_metrics`.
    """
    check_joints(ground_truth, results, skeleton)
    truth = with_box_area(ground_truth)
    evaluation = prepare(truth, results, "keypoints", np.array(skeleton.sigmas), scorer or get_scorer())
    stats = dict(zip(KEYPOINT_STATS, summarize(evaluation), strict=True))
    metrics = {f"keypoint/{name}": stats[name] for name in STATS}
    for name, (low, high) in CROWDING.items():
        images = [image["id"] for image in truth["images"] if low <= image.get("crowdIndex", np.nan) < high]
        metrics[f"keypoint/{name}"] = _subset_precision(evaluation, images)
    return metrics


def with_box_area(ground_truth: dict) -> dict:
    """The ground truth with the area of every person taken from the box."""
    people = [
        person | {"area": AREA_OF_BOX * person["bbox"][2] * person["bbox"][3]}
        for person in ground_truth["annotations"]
    ]  # fmt: skip
    return {**ground_truth, "annotations": people}


def _subset_precision(evaluation, images: list[int]) -> float:
    """Mean precision over OKS and recall on some pictures, all areas; -1 where nobody is to be found."""
    if not images:
        return -1.0
    evaluation.params.imgIds = images
    precision = accumulate(evaluation)["precision"][:, :, :, 0, :]  # OKS, recall, category, [all areas], detections
    return round(float(np.mean(precision)), DECIMALS)
