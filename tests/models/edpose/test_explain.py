"""What explain_picture shows of a small, fresh ED-Pose: its prediction, people from stage to stage, where queries look."""

import numpy as np
import pytest
from flax import nnx

from querypose_jax.errors import UserError
from querypose_jax.inference.figure_sampling import draw_sampling
from querypose_jax.inference.figures import draw_attention, draw_stages, explain_picture
from querypose_jax.inference.predictor import Predictor
from querypose_jax.skeletons import COCO
from tests.models.edpose.small_model import small_config, small_model

PICTURE = np.random.default_rng(0).integers(0, 255, (80, 64, 3), np.uint8)  # fills two thirds of its canvas


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(small_config(), *nnx.split(small_model()), COCO)


@pytest.fixture(scope="module")
def explained(predictor):
    return explain_picture(predictor, PICTURE, threshold=0)


@pytest.mark.slow
def test_the_last_stage_is_the_prediction(predictor, explained):
    prediction = predictor(PICTURE, threshold=0)
    assert len(prediction) == len(explained.stages[-1]) == 4
    np.testing.assert_allclose(explained.stages[-1].keypoints, prediction.keypoints, atol=1e-2)
    np.testing.assert_allclose(explained.stages[-1].boxes, prediction.boxes, atol=1e-2)
    np.testing.assert_allclose(explained.stages[-1].scores, prediction.scores, rtol=1e-4)


def test_people_are_followed_from_the_encoder_on_and_are_boxes_first(explained):
    """The heads of a fresh model move nothing: the same boxes at all stages, if the same people are taken."""
    assert explained.captions == ("encoder", "boxes 1", "poses 1")
    for stage in explained.stages:
        np.testing.assert_allclose(stage.boxes, explained.stages[-1].boxes, atol=1e-2)
    assert [bool(stage.keypoint_scores.any()) for stage in explained.stages] == [False, False, True]
    assert len({tuple(box) for box in explained.stages[-1].boxes.tolist()}) > 1


def test_the_points_of_fresh_queries_lie_around_the_middle_of_their_boxes(explained):
    """Offsets start as rings that reach the sides of a box, all with the same weight; on the picture, not its canvas."""
    sampling = explained.sampling
    assert sampling.points.shape == (4, 18, 2 * 4 * 2, 2)  # heads, levels, points
    corners = sampling.boxes.reshape(4, 18, 2, 2)
    np.testing.assert_allclose(sampling.points.mean(2), corners.mean(2), atol=1e-3)
    np.testing.assert_allclose(sampling.points[..., 0].max(2), corners[..., 1, 0], atol=1e-3)
    np.testing.assert_allclose(sampling.weights, 1 / 16, rtol=1e-5)
    people = np.clip(corners[:, 0], 0, (64, 80)).reshape(4, 4)
    np.testing.assert_allclose(people, explained.stages[-2].boxes, atol=1e-2)


def test_figures_have_a_panel_per_stage_and_a_row_per_person(explained):
    assert draw_stages(explained).width > 3 * 380
    one, two = (draw_sampling(explained, num_people=n) for n in (1, 2))
    assert two.height > one.height
    with pytest.raises(UserError, match="draw_attention: this model has no maps of attention"):
        draw_attention(explained)
