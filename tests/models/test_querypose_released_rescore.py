import copy

import numpy as np

from querypose_jax.models.querypose.released_rescore import released_rescore, rescore_results


def test_rows_apart_in_the_misread_columns_only_change_places():
    rows = np.array([[0.9, 10, 100, 40, 200], [0.5, 500, 110, 600, 400]], np.float32)
    after, joints = released_rescore(rows)
    np.testing.assert_array_equal(after, rows[::-1])  # sorted by y2
    assert joints == [1, 0]


def test_overlapping_row_gets_y2_shrunk_and_keeps_its_score():
    rows = np.array([[0.9, 10, 100, 40, 400], [0.9, 10, 100, 40, 200]], np.float32)
    after, joints = released_rescore(rows)
    assert joints == [0, 1]
    np.testing.assert_allclose(after[0], rows[0])
    np.testing.assert_allclose(after[1], [0.9, 10, 100, 40, 200 * np.exp(-1 / 0.5)], rtol=1e-6)  # IoU 1
    assert after[1, 4] < after[1, 2]  # the box is upside down now: negative area


def test_a_row_below_the_floor_takes_the_last_live_row_and_leaves_its_joints_there():
    twin = [0.9, 10, 100, 40]
    rows = np.array([[*twin, 300], [0.8, 10, 100, 40, 0.002], [0.7, 800, 100, 40, 0.001]], np.float32)
    after, joints = released_rescore(rows)
    assert joints == [0, 2, 1]
    np.testing.assert_allclose(after[1], rows[2], rtol=1e-6)
    np.testing.assert_allclose(after[2], rows[2], rtol=1e-6)  # the live row's score and box stand twice


def test_results_given_are_not_changed():
    results = [
        {"image_id": 3, "category_id": 1, "score": 0.5, "bbox": [10, 10, 20, 50], "keypoints": [1, 2, 1]},
        {"image_id": 3, "category_id": 1, "score": 0.4, "bbox": [10, 10, 20, 40], "keypoints": [3, 4, 1]},
    ]
    before = copy.deepcopy(results)
    after = rescore_results(results)
    assert results == before
    assert [r["keypoints"] for r in after] == [[1, 2, 1], [3, 4, 1]]
    assert after[1]["bbox"][3] < 0
