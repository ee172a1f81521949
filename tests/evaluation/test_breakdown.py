import copy

import numpy as np
import pytest

from querypose_jax.evaluation.breakdown import breakdown, breakdown_table, read_breakdown, write_breakdown
from querypose_jax.skeletons import COCO
from tests.evaluation.test_coco import PEOPLE, found, ground_truth

K = COCO.num_keypoints


def test_a_joint_that_is_off_by_two_sigmas_has_the_similarity_worked_out_by_hand():
    person = PEOPLE[0]
    result = found(person, 0.9)
    elbow, sigma = COCO.names.index("left_elbow"), COCO.sigmas[COCO.names.index("left_elbow")]
    result["keypoints"][3 * elbow] += 2 * sigma * np.sqrt(person["area"])
    numbers = breakdown(ground_truth([person], (1,)), [result], COCO)
    assert numbers["joints"]["left_elbow"]["all"] == {"similarity": pytest.approx(np.exp(-0.5), abs=1e-4), "joints": 1}
    others = [sizes["all"]["similarity"] for name, sizes in numbers["joints"].items() if name != "left_elbow"]
    assert others == [1.0] * (K - 1)


def test_people_are_counted_by_size_and_those_not_found_leave_no_joints():
    numbers = breakdown(ground_truth(PEOPLE), [found(PEOPLE[0], 0.9), found(PEOPLE[2], 0.8, shift=300)], COCO)
    assert numbers["people"] == {
        "all": {"labelled": 3, "found": 1},
        "small": {"labelled": 0, "found": 0},
        "medium": {"labelled": 2, "found": 0},
        "large": {"labelled": 1, "found": 1},
    }
    assert numbers["joints"]["nose"]["medium"] == {"similarity": -1.0, "joints": 0}


def test_unlabelled_joints_crowds_and_people_without_joints_do_not_count():
    half = copy.deepcopy(PEOPLE[0])
    half["keypoints"][2::3] = [2] * 5 + [0] * 12
    crowd, nobody = PEOPLE[1] | {"iscrowd": 1}, PEOPLE[2] | {"num_keypoints": 0}
    results = [found(p, 0.9) for p in PEOPLE]
    numbers = breakdown(ground_truth([half, crowd, nobody]), results, COCO)
    assert numbers["people"]["all"] == {"labelled": 1, "found": 1}
    assert [sizes["all"]["joints"] for sizes in numbers["joints"].values()] == [1] * 5 + [0] * 12


def test_every_person_is_found_once_and_by_the_best():
    results = [found(PEOPLE[0], 0.5, shift=3), found(PEOPLE[0], 0.9)]
    numbers = breakdown(ground_truth(PEOPLE[:1], (1,)), results, COCO)
    assert numbers["people"]["all"]["found"] == 1
    assert numbers["joints"]["nose"]["all"]["similarity"] == 1.0


def test_annotation_ids_from_zero_are_no_trap():
    first = PEOPLE[0] | {"id": 0}
    assert breakdown(ground_truth([first], (1,)), [found(first, 0.9)], COCO)["people"]["all"]["found"] == 1


def test_classes_have_an_average_precision_each():
    truth = ground_truth([PEOPLE[0], PEOPLE[2] | {"category_id": 5}])
    truth["categories"] = [{"id": 5, "name": "dog"}, {"id": 1, "name": "person"}]
    numbers = breakdown(truth, [found(PEOPLE[0], 0.9)], COCO)
    assert numbers["classes"] == {"dog": 0.0, "person": pytest.approx(1.0)}
    assert "keypoint AP of person: 100.0" in breakdown_table(numbers)
    assert breakdown(ground_truth(PEOPLE), [], COCO)["classes"] == {}


def test_no_results_give_a_table_of_dashes_and_files_come_back(tmp_path):
    numbers = breakdown(ground_truth(PEOPLE), [], COCO)
    lines = breakdown_table(numbers).splitlines()
    assert " ".join(lines[1].split()) == "people found 0 of 3 0 of 0 0 of 2 0 of 1"
    assert lines[2].split() == ["nose", "-", "-", "-", "-"]
    assert read_breakdown(tmp_path) is None
    write_breakdown(tmp_path, numbers)
    assert read_breakdown(tmp_path) == numbers
