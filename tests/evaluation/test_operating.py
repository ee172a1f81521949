"""Precision, recall and F1 against the score, worked out by hand."""

import numpy as np
import pytest

from querypose_jax.evaluation.operating import operating, operating_points, threshold_line, threshold_metrics
from querypose_jax.skeletons import COCO
from tests.evaluation.test_coco import PEOPLE, found, ground_truth


def test_each_score_is_a_threshold_with_the_shares_counted_by_hand():
    points = operating(np.array([0.2, 0.9, 0.5, 0.7]), np.array([False, True, True, False]), people=3)
    np.testing.assert_array_equal(points.scores, [0.9, 0.7, 0.5, 0.2])
    np.testing.assert_allclose(points.precision, [1, 1 / 2, 2 / 3, 2 / 4])
    np.testing.assert_allclose(points.recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(points.f1, [2 / 4, 2 / 5, 4 / 6, 4 / 7])
    assert points.best == 2
    assert points.threshold == pytest.approx(0.35)  # between 0.5, which is reported, and 0.2, which is not


def test_people_of_one_score_are_reported_together():
    points = operating(np.array([0.5, 0.5, 0.5]), np.array([True, False, True]), people=2)
    np.testing.assert_array_equal(points.scores, [0.5])
    np.testing.assert_allclose((points.precision[0], points.recall[0], points.f1[0]), (2 / 3, 1, 4 / 5))
    assert points.threshold == 0.5


@pytest.mark.parametrize(("is_right", "people"), [([False, False], 2), ([], 2), ([False], 0)])
def test_where_nobody_is_found_or_to_be_found_there_is_no_threshold(is_right, people):
    assert operating(np.linspace(0.1, 0.9, len(is_right)), np.array(is_right, bool), people) is None


def test_detections_are_matched_as_the_protocol_does_and_the_best_threshold_parts_right_from_wrong():
    """Three people found, two ghosts below them and one detection more of somebody who is found already."""
    results = [found(p, s) for p, s in zip(PEOPLE, (0.55, 0.45, 0.4), strict=True)]
    results += [
        found(PEOPLE[0], 0.3, shift=1.0),
        found(PEOPLE[1], 0.2, shift=400.0),
        found(PEOPLE[2], 0.1, shift=300.0),
    ]
    metrics = threshold_metrics(operating_points(ground_truth(PEOPLE), results, COCO))
    assert metrics == {
        "threshold/score": pytest.approx(0.35),
        "threshold/precision": 1.0,
        "threshold/recall": 1.0,
        "threshold/f1": 1.0,
        "threshold/people": 3,
    }
    assert threshold_line(metrics).startswith("threshold 0.350: best F1 100.0 (precision 100.0, recall 100.0)")


def test_crowds_and_people_without_joints_are_neither_right_nor_wrong_nor_missed():
    people = [PEOPLE[0], PEOPLE[1] | {"iscrowd": 1}, PEOPLE[2] | {"num_keypoints": 0}]
    results = [found(p, 0.5) for p in people]
    points = operating_points(ground_truth(people), results, COCO)[""]
    assert (points.precision[-1], points.recall[-1]) == (1.0, 1.0)


def test_of_several_classes_each_has_its_own_and_all_have_one_together():
    truth = ground_truth([PEOPLE[0], PEOPLE[1] | {"category_id": 2}])
    truth["categories"] = [{"id": 1, "name": "beetle"}, {"id": 2, "name": "ant"}, {"id": 3, "name": "bee"}]
    results = [found(PEOPLE[0], 0.9), found(PEOPLE[1], 0.3) | {"category_id": 2}, found(PEOPLE[1], 0.6)]
    metrics = threshold_metrics(operating_points(truth, results, COCO))
    assert metrics["threshold/beetle/score"] == pytest.approx(0.75)  # an ant taken for a beetle is below
    assert metrics["threshold/ant/score"] == pytest.approx(0.3)
    assert metrics["threshold/f1"] == pytest.approx(4 / 5)
    assert not any("bee/" in name for name in metrics)


def test_without_people_or_results_nothing_is_said():
    assert operating_points(ground_truth([]), [found(PEOPLE[0], 0.5)], COCO) == {}
    assert operating_points(ground_truth(PEOPLE), [], COCO) == {}
    assert threshold_line({}) == ""
