"""The CrowdPose protocol where it differs from COCO's, on numbers worked out by hand."""

import copy

import numpy as np
import pytest

from querypose_jax.errors import UserError
from querypose_jax.evaluation.coco import keypoint_metrics, metrics_table
from querypose_jax.evaluation.crowdpose import crowdpose_metrics
from querypose_jax.evaluation.scoring import Scoring, score
from querypose_jax.models.querypose.released_rescore import rescore_results
from querypose_jax.skeletons import CROWDPOSE

K = CROWDPOSE.num_keypoints
SIDE = 100.0


def truth(crowd_index: tuple[float, ...], **changes) -> dict:
    """A picture of one person each, all joints at the corner of the same box."""
    person = dict(category_id=1, bbox=[20.0, 20.0, SIDE, SIDE], iscrowd=0, num_keypoints=12, keypoints=[20, 20, 2] * K)
    return {
        "images": [dict(id=i, width=200, height=200, crowdIndex=c) for i, c in enumerate(crowd_index, start=1)],
        "annotations": [person | dict(id=i, image_id=i) | changes for i in range(1, len(crowd_index) + 1)],
        "categories": [dict(id=1, name="person")],
    }


def found(ground_truth: dict, shifts: tuple[float, ...]) -> list[dict]:
    """Everybody, the joints of person i shifted by shifts[i] pixels."""
    return [
        dict(image_id=p["image_id"], category_id=1, score=0.9, keypoints=[20 + shift, 20, 1] * K)
        for p, shift in zip(ground_truth["annotations"], shifts, strict=True)
    ]


def test_pictures_on_the_borders_are_medium_and_hard():
    ground_truth = truth((0.1999, 0.2, 0.7999, 0.8))
    found_by_two = found(ground_truth, (500, 0, 0, 500))
    metrics = crowdpose_metrics(ground_truth, found_by_two, CROWDPOSE)
    groups = [metrics[f"keypoint/{name}"] for name in ("APeasy", "APmedium", "APhard")]
    assert groups == [0.0, 1.0, 0.0]


def test_a_group_without_people_or_crowd_index_is_marked():
    ground_truth = truth((0.5,))
    metrics = crowdpose_metrics(ground_truth, found(ground_truth, (0,)), CROWDPOSE)
    assert (metrics["keypoint/APeasy"], metrics["keypoint/APhard"]) == (-1.0, -1.0)
    del ground_truth["images"][0]["crowdIndex"]
    metrics = crowdpose_metrics(ground_truth, found(ground_truth, (0,)), CROWDPOSE)
    assert metrics["keypoint/APmedium"] == -1.0
    assert metrics["keypoint/AP"] == pytest.approx(1.0)


def test_the_area_is_that_of_the_box_whatever_the_annotation_says():
    ground_truth = truth((0.5,), area=1.0)
    shift = np.sqrt(2 * 0.53 * SIDE**2) * 2 * 0.079  # OKS of joints of sigma 0.079: exp(-1)
    results = found(ground_truth, (shift / 2,))
    before = copy.deepcopy(ground_truth)
    assert crowdpose_metrics(ground_truth, results, CROWDPOSE)["keypoint/AP50"] == pytest.approx(1.0)
    assert keypoint_metrics(ground_truth, results, CROWDPOSE)["keypoint/AP50"] == 0.0
    assert ground_truth == before


def test_a_person_of_whom_only_the_head_is_labelled_is_ignored_as_the_file_says():
    ground_truth = truth((0.5, 0.5))
    ground_truth["annotations"][1] |= dict(num_keypoints=0, keypoints=[0] * (3 * K - 3) + [20, 20, 2])
    metrics = crowdpose_metrics(ground_truth, found(ground_truth, (0, 500))[:1], CROWDPOSE)
    assert metrics["keypoint/AR"] == pytest.approx(1.0)


def test_a_wrong_skeleton_is_one_line():
    ground_truth = truth((0.5,), keypoints=[1, 1, 2] * 17)
    with pytest.raises(UserError, match="51 keypoint numbers, skeleton crowdpose needs 42"):
        crowdpose_metrics(ground_truth, [], CROWDPOSE)


def test_the_table_has_a_block_for_the_groups():
    ground_truth = truth((0.1, 0.5))
    detections = [d | {"bbox": [20, 20, 100, 100]} for d in found(ground_truth, (0, 0))]
    metrics = score(ground_truth, detections, CROWDPOSE, Scoring(is_crowdpose=True))
    assert metrics["box/AP"] == pytest.approx(1.0)
    last = metrics_table(metrics).splitlines()[-3:]
    assert [line.split() for line in last] == [
        ["APeasy", "APmedium", "APhard"],
        ["keypoint", "100.0", "100.0", "-"],
        ["box", "-", "-", "-"],
    ]
    assert len({len(line) for line in last}) == 1


def test_released_numbers_have_a_name_of_their_own_and_leave_the_headline_alone():
    ground_truth = truth((0.5, 0.5))
    boxes = [{"bbox": [20, 20, 100, 100]}, {"bbox": [10, 30, 90, 90], "score": 0.2}]
    detections = [d | b for d in found(ground_truth, (0, 3)) for b in boxes]
    plain = score(ground_truth, detections, CROWDPOSE, Scoring(is_crowdpose=True))
    both = score(
        ground_truth,
        detections,
        CROWDPOSE,
        Scoring(is_crowdpose=True, rescorings={"keypoint_released_rescore": rescore_results}),
    )
    assert {name: both[name] for name in plain} == plain
    extra = set(both) - set(plain)
    assert extra == {name.replace("keypoint/", "keypoint_released_rescore/") for name in plain if "keypoint/" in name}
    assert "keypoint_released_rescore" in metrics_table(both)
