"""What figures show of a small, untrained Group Pose, whose joints look at places, agrees with what it predicts."""

import numpy as np
import pytest
from flax import nnx

from querypose_jax.inference.figures import draw_attention, draw_stages, explain_picture
from querypose_jax.inference.predictor import Predictor
from querypose_jax.skeletons import COCO
from tests.models.grouppose.small_model import small_config, small_model, with_moving_heads

pytestmark = pytest.mark.slow  # compiles the model twice


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    config = small_config()
    config.data.update(eval_short_side=64, longest_side=96, canvases=((64, 128),))
    return Predictor(config, *nnx.split(with_moving_heads(small_model(config))), COCO)


@pytest.fixture(scope="module")
def explained(predictor):
    noise = np.random.default_rng(0).integers(0, 255, (128, 192, 3), np.uint8)
    return noise, explain_picture(predictor, noise, threshold=0)


def test_the_last_layer_is_the_prediction_and_layers_follow_the_same_people(predictor, explained):
    noise, inside = explained
    prediction = predictor(noise, threshold=0)
    np.testing.assert_allclose(inside.stages[-1].keypoints, prediction.keypoints, atol=1e-2)
    np.testing.assert_allclose(inside.stages[-1].scores, prediction.scores, rtol=1e-4)
    assert inside.stage_names == ("encoder", "layer 1", "layer 2")
    assert [len(stage) for stage in inside.stages] == [len(prediction)] * 3
    moved = [np.abs(a.keypoints - b.keypoints).max() for a, b in zip(inside.stages, inside.stages[1:], strict=False)]
    assert min(moved) > 0.1


def test_joints_of_an_untrained_model_look_at_rings_around_where_the_last_layer_starts(explained):
    """Two heads, four levels, two points. The first head looks to the right of the joint, by one cell and by two: 8
    network pixels on the first level, in the file twice as many; all samples weigh the same."""
    _, inside = explained
    start = inside.stages[-2].keypoints
    samples = inside.samples.reshape(*start.shape[:2], 2, 4, 2, 3)
    np.testing.assert_allclose(samples[..., 2], 1 / 16, rtol=1e-5)
    steps = samples[..., :2] - start[:, :, None, None, None]
    assert np.allclose(steps[:, :, 0, 0], [(16, 0), (32, 0)], atol=0.01)
    assert np.allclose(steps[:, :, 1, 1], [(-32, 0), (-64, 0)], atol=0.01)


def test_figures_have_a_panel_per_layer_and_two_rows_of_tiles_per_person(explained):
    _, inside = explained
    assert draw_stages(inside).width > 3 * 480
    one, two = (draw_attention(inside, num_people=n) for n in (1, 2))
    assert two.height > 1.5 * one.height
