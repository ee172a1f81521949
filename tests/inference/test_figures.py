"""What figures show of a small, untrained QueryPose agrees with what it predicts."""

import numpy as np
import pytest
from flax import nnx

from querypose_jax.inference.figures import draw_attention, draw_stages, explain_picture
from querypose_jax.inference.predictor import Predictor
from querypose_jax.skeletons import COCO
from tests.models.small_model import small_config, small_model


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    config = small_config()
    config.model.stages = 2
    return Predictor(config, *nnx.split(small_model()), COCO)


@pytest.fixture(scope="module")
def explained(predictor):
    noise = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)
    return noise, explain_picture(predictor, noise, threshold=0)


@pytest.mark.slow
def test_the_last_stage_is_the_prediction_and_stages_follow_the_same_queries(predictor, explained):
    noise, inside = explained
    prediction = predictor(noise, threshold=0)
    np.testing.assert_allclose(inside.stages[-1].keypoints, prediction.keypoints, atol=1e-2)
    np.testing.assert_allclose(inside.stages[-1].scores, prediction.scores, rtol=1e-4)
    assert [len(stage) for stage in inside.stages] == [len(prediction)] * 2
    assert np.abs(inside.stages[0].boxes - inside.stages[1].boxes).max() > 0


def test_every_part_of_every_person_has_weights_that_sum_to_one(explained):
    _, inside = explained
    assert inside.attention.shape[0] == len(inside.stages[-1])
    assert inside.attention.shape[-1] == len(COCO.parts)
    np.testing.assert_allclose(inside.attention.sum((1, 2)), 1, rtol=1e-3)


def test_figures_have_a_panel_per_stage_and_a_row_per_person(explained):
    _, inside = explained
    stages = draw_stages(inside)
    assert stages.width > 2 * 480
    one, two = (draw_attention(inside, num_people=n) for n in (1, 2))
    assert two.height > one.height
