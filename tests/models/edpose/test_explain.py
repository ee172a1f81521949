"""What explain_picture shows of a small, fresh ED-Pose: its prediction, people by stage, and where joints look."""

import numpy as np
import pytest
from flax import nnx

from querypose_jax.inference.figures import draw_attention, draw_stages, explain_picture
from querypose_jax.inference.predictor import Predictor
from querypose_jax.skeletons import COCO
from tests.models.edpose.small_model import small_config, small_model

pytestmark = pytest.mark.slow  # compiles the model twice
PICTURE = np.random.default_rng(0).integers(0, 255, (80, 64, 3), np.uint8)  # fills two thirds of its canvas


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(small_config(), *nnx.split(small_model()), COCO)


@pytest.fixture(scope="module")
def explained(predictor):
    return explain_picture(predictor, PICTURE, threshold=0)


def test_the_last_stage_is_the_prediction(predictor, explained):
    prediction = predictor(PICTURE, threshold=0)
    assert len(prediction) == len(explained.stages[-1]) == 4
    np.testing.assert_allclose(explained.stages[-1].keypoints, prediction.keypoints, atol=1e-2)
    np.testing.assert_allclose(explained.stages[-1].boxes, prediction.boxes, atol=1e-2)
    np.testing.assert_allclose(explained.stages[-1].scores, prediction.scores, rtol=1e-4)


def test_people_are_followed_from_the_encoder_on_and_are_boxes_first(explained):
    """The heads of a fresh model move nothing: the same boxes at all stages, if the same people are taken."""
    assert explained.stage_names == ("encoder", "boxes, layer 1", "poses, layer 2")
    for stage in explained.stages:
        np.testing.assert_allclose(stage.boxes, explained.stages[-1].boxes, atol=1e-2)
    assert [bool(stage.keypoint_scores.any()) for stage in explained.stages] == [False, False, True]
    assert len({tuple(box) for box in explained.stages[-1].boxes.tolist()}) > 1


def test_the_samples_of_fresh_joints_lie_around_the_middle_of_their_boxes(explained):
    """Offsets start as rings that reach the sides of a box, all with the same weight; relative to the picture, not to
    its canvas."""
    samples, corners = explained.samples, explained.joint_boxes.reshape(4, 17, 2, 2)
    assert samples.shape == (4, 17, 2 * 4 * 2, 3)  # heads, levels, points
    np.testing.assert_allclose(samples[..., :2].mean(2), corners.mean(2), atol=1e-3)
    np.testing.assert_allclose(samples[..., 0].max(2), corners[..., 1, 0], atol=1e-3)
    np.testing.assert_allclose(samples[..., 2], 1 / 16, rtol=1e-5)
    np.testing.assert_allclose(corners.mean(2), explained.stages[-1].keypoints, atol=1e-2)


def test_figures_have_a_panel_per_stage_and_two_rows_of_tiles_per_person(explained):
    assert draw_stages(explained).width > 3 * 380
    one, two = (draw_attention(explained, num_people=n) for n in (1, 2))
    assert two.height > 1.5 * one.height
