"""Predictions as types of supervision and as rows of a table: the same numbers in the same order."""

import numpy as np
import pytest
from PIL import Image

from querypose_jax.inference.prediction import Prediction
from querypose_jax.skeletons import COCO


def people(count: int, tracks=None) -> Prediction:
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.random((count, 4)).astype(np.float32) * 50)
    arrays = np.linspace(0.9, 0.5, count), np.arange(count) % 2, boxes, rng.random((count, 17, 2)) * 50
    return Prediction(Image.new("RGB", (50, 50)), COCO, *arrays, rng.random((count, 17)), "a.jpg", tracks=tracks)


@pytest.mark.parametrize("count", [3, 0])
def test_supervision_has_the_same_people(count):
    supervision = pytest.importorskip("supervision")
    given = people(count, np.arange(count) - 1)
    points, found = given.to_supervision()
    assert isinstance(points, supervision.KeyPoints) and isinstance(found, supervision.Detections)
    assert len(points) == len(found) == count
    np.testing.assert_allclose(found.xyxy, given.boxes)
    np.testing.assert_array_equal(found.tracker_id, given.tracks)
    np.testing.assert_array_equal(found.class_id, given.labels)
    np.testing.assert_allclose(points.xy, given.keypoints, rtol=1e-6)
    np.testing.assert_allclose(points.keypoint_confidence, given.keypoint_scores, rtol=1e-6)
    assert people(2).to_supervision()[1].tracker_id is None
    drawn = supervision.VertexAnnotator().annotate(np.zeros((50, 50, 3), np.uint8), points)
    assert drawn.any() == (count > 0)


def test_rows_are_flat_and_of_plain_numbers():
    rows = people(3, np.array([4, -1, 0])).to_rows()
    assert [row["track"] for row in rows] == [4, -1, 0] and [row["label"] for row in rows] == [0, 1, 0]
    assert {type(value) for row in rows for value in row.values()} == {str, int, float}
    assert list(rows[0])[:9] == ["picture", "person", "label", "score", "track", "x0", "y0", "x1", "y1"]
    assert "track" not in people(1).to_rows()[0]


def test_rows_make_a_table():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(row for prediction in (people(2), people(3)) for row in prediction.to_rows())
    assert table.shape == (5, 8 + 3 * 17) and table["nose_x"].dtype == float
