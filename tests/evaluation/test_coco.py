import copy

import numpy as np
import pytest

from querypose_jax.errors import UserError
from querypose_jax.evaluation.coco import box_metrics, keypoint_metrics, metrics_table, to_coco_results
from querypose_jax.skeletons import COCO, CROWDPOSE
from querypose_jax.structures import FILLER_ID, Poses

K = COCO.num_keypoints


def person(image_id: int, box: tuple[float, float, float, float], **changes) -> dict:
    """An annotation whose joints lie on the diagonal of its xywh box."""
    x, y, w, h = box
    joints = [[x + w * t, y + h * t, 2] for t in np.linspace(0, 1, K)]
    fields = dict(id=100 * image_id + int(x), image_id=image_id, category_id=1, bbox=list(box), area=0.6 * w * h)
    return fields | dict(iscrowd=0, num_keypoints=K, keypoints=np.array(joints).ravel().tolist()) | changes


def ground_truth(people: list[dict], images: tuple[int, ...] = (1, 2)) -> dict:
    return {
        "images": [{"id": i, "height": 480, "width": 640} for i in images],
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }


def found(annotation: dict, score: float, shift: float = 0.0) -> dict:
    keypoints = np.array(annotation["keypoints"], float).reshape(-1, 3) + np.array([shift, shift, 0])
    x, y, w, h = annotation["bbox"]
    result = {"bbox": [x + shift, y + shift, w, h], "keypoints": keypoints.ravel().tolist(), "score": score}
    return {"image_id": annotation["image_id"], "category_id": 1} | result


PEOPLE = [person(1, (50, 60, 120, 250)), person(1, (300, 60, 60, 120)), person(2, (20, 30, 40, 80))]


def test_perfect_results_score_one_everywhere():
    truth, results = ground_truth(PEOPLE), [found(p, 0.9) for p in PEOPLE]
    keypoint, box = keypoint_metrics(truth, results, COCO), box_metrics(truth, results)
    assert keypoint == {name: pytest.approx(1.0) for name in keypoint}
    assert box["box/AP"] == pytest.approx(1.0)
    assert box["box/AR1"] == pytest.approx(2 / 3)  # one of two people on the first picture, the one on the second
    assert box["box/APs"] == -1.0  # nobody is small


def test_one_person_of_three_missed_gives_the_recall_worked_out_by_hand():
    results = [found(PEOPLE[0], 0.9), found(PEOPLE[2], 0.8)]
    metrics = keypoint_metrics(ground_truth(PEOPLE), results, COCO)
    assert metrics["keypoint/AR"] == pytest.approx(2 / 3)
    assert metrics["keypoint/AP"] == pytest.approx(67 / 101)  # precision 1 at recalls 0, 0.01 ... 0.66


def test_no_results_score_zero():
    truth = ground_truth(PEOPLE)
    metrics = keypoint_metrics(truth, [], COCO) | box_metrics(truth, [])
    assert metrics["keypoint/AP"] == metrics["keypoint/AR"] == metrics["box/AP"] == metrics["box/AR"] == 0.0


def test_no_people_to_find_is_marked_and_does_not_crash():
    metrics = keypoint_metrics(ground_truth([]), [found(PEOPLE[0], 0.9)], COCO)
    assert set(metrics.values()) == {-1.0}


def test_sigmas_come_from_the_skeleton():
    truth, results = ground_truth(PEOPLE), [found(p, 0.9, shift=4.0) for p in PEOPLE]
    strict = copy.copy(COCO)
    object.__setattr__(strict, "sigmas", tuple(s / 10 for s in COCO.sigmas))
    assert keypoint_metrics(truth, results, COCO)["keypoint/AP50"] == pytest.approx(1.0)
    assert keypoint_metrics(truth, results, strict)["keypoint/AP50"] == 0.0


def test_callers_objects_stay_untouched_and_nothing_is_printed(capsys):
    truth, results = ground_truth(PEOPLE), [found(p, 0.9) for p in PEOPLE]
    before = copy.deepcopy((truth, results))
    keypoint_metrics(truth, results, COCO)
    box_metrics(truth, results)
    assert (truth, results) == before
    assert capsys.readouterr().out == ""


def test_results_of_an_unknown_picture_and_a_wrong_skeleton_are_one_line():
    truth = ground_truth(PEOPLE)
    stranger = found(person(77, (0, 0, 50, 50)), 0.5)
    with pytest.raises(UserError, match="first id 77") as caught:
        keypoint_metrics(truth, [stranger], COCO)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="51 keypoint numbers, skeleton crowdpose needs 42"):
        keypoint_metrics(truth, [found(PEOPLE[0], 0.5)], CROWDPOSE)


def test_to_coco_results_shifts_joints_and_drops_invalid_people_and_fillers():
    rng = np.random.default_rng(0)
    poses = Poses(
        scores=np.array([[0.25, 0.5], [0.75, 1.0]], np.float32),
        labels=np.array([[0, 1], [1, 0]]),
        valid=np.array([[True, True], [True, False]]),
        boxes=np.tile(np.array([10, 20, 40, 80], np.float32), (2, 2, 1)),
        keypoints=rng.uniform(-50, 700, (2, 2, K, 2)).astype(np.float32),
        keypoint_scores=rng.uniform(0, 1, (2, 2, K)).astype(np.float32),
    )
    first, second, third = to_coco_results(poses, [5, 9], category_ids=(1, 18))
    assert [r["image_id"] for r in (first, second, third)] == [5, 5, 9]
    assert [r["category_id"] for r in (first, second, third)] == [1, 18, 18]
    assert [r["score"] for r in (first, second, third)] == [0.25, 0.5, 0.75]
    assert first["bbox"] == [10, 20, 30, 60]
    written = np.array(second["keypoints"]).reshape(K, 3)
    np.testing.assert_allclose(written[:, :2], poses.keypoints[0, 1] - 0.5, atol=1e-3)
    np.testing.assert_allclose(written[:, 2], poses.keypoint_scores[0, 1], atol=1e-4)
    assert to_coco_results(poses, [FILLER_ID, FILLER_ID], (1, 18)) == []


def test_table_shows_percent_and_a_dash_for_what_is_not_there():
    table = metrics_table({"keypoint/AP": 0.5123, "keypoint/APm": -1.0, "box/APs": 0.25, "box/AR": 1.0})
    assert table.splitlines() == [
        "              AP    AP50    AP75     APs     APm     APl",
        "keypoint    51.2       -       -       -       -       -",
        "box            -       -       -    25.0       -       -",
        "              AR    AR50    AR75     ARs     ARm     ARl",
        "keypoint       -       -       -       -       -       -",
        "box        100.0       -       -       -       -       -",
    ]
