"""What figures of a SimplePose show lies where the model says, and ends with what it predicts."""

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.figures import explain_picture
from querypose_jax.inference.joint_figures import ExplainedJoints, draw_heatmap, draw_joining, draw_offsets
from querypose_jax.inference.panels import CAPTION, GAP
from querypose_jax.inference.prediction import Prediction
from querypose_jax.inference.predictor import Predictor
from querypose_jax.skeletons import COCO
from tests.models.test_simplepose import loud_model, small_config

SIDE, STRIDE = 480, 8  # pixels of the picture and of a cell on it
HOT = (20, 30)  # row, column


def somebody(joints: int) -> Prediction:
    """One person of whom the first joints are there, on a white picture."""
    seen = np.arange(COCO.num_keypoints) < joints
    return Prediction(
        picture=Image.new("RGB", (SIDE, SIDE), (255, 255, 255)),
        skeleton=COCO,
        scores=np.ones(1),
        labels=np.zeros(1, int),
        boxes=np.array([[0.0, 0, SIDE, SIDE]]),
        keypoints=np.linspace(40, 440, 34).reshape(1, 17, 2),
        keypoint_scores=seen[None].astype(float),
    )


@pytest.fixture
def explained() -> ExplainedJoints:
    """A left eye is likely in one cell alone, and points 100 pixels to the right."""
    cells = SIDE // STRIDE
    heatmaps = np.zeros((cells, cells, COCO.num_keypoints), np.float32)
    heatmaps[(*HOT, 1)] = 1
    offsets = np.zeros((cells, cells, len(COCO.limbs), 2), np.float32)
    offsets[..., 0] = 100
    rows, columns = np.indices((cells, cells))
    centres = STRIDE * (np.stack([columns, rows], -1) + 0.5)
    steps = [somebody(number) for number in range(len(COCO.limbs))]
    return ExplainedJoints(somebody(17), steps, heatmaps, offsets, centres)


def inside(figure: Image.Image) -> np.ndarray:
    """The picture in a figure of one panel."""
    return np.asarray(figure)[GAP + CAPTION : GAP + CAPTION + SIDE, GAP : GAP + SIDE].astype(int)


def test_heat_is_where_the_joint_is_likely_and_nowhere_else(explained):
    drawn = inside(draw_heatmap(explained, "left_eye"))
    is_coloured = np.ptp(drawn, axis=-1) > 8
    place = np.argwhere(is_coloured)
    centre = STRIDE * (np.array(HOT) + 0.5) - 0.5
    assert np.abs(place.mean(0) - centre).max() < 1
    assert np.abs(place - centre).max() <= STRIDE
    assert not (np.ptp(inside(draw_heatmap(explained, "nose")), axis=-1) > 8).any()


def test_arrows_go_from_likely_cells_as_far_as_the_offset(explained):
    is_line = np.ptp(inside(draw_offsets(explained, ("left_eye", "right_eye"))), axis=-1) > 30
    row, column = (np.array(HOT) + 0.5) * STRIDE
    along = np.flatnonzero(is_line[int(row) - 1 : int(row) + 1].any(0))
    assert abs(along.min() - column) <= 1.5 and abs(along.max() - column - 100) <= 1.5
    assert not is_line[: int(row) - 9].any() and not is_line[int(row) + 9 :].any()


def test_limbs_come_one_after_the_other(explained):
    sheet = draw_joining(explained)
    assert sheet.width > 5 * 200 and sheet.height > 4 * 200, "nineteen panels, five in a row"


@pytest.mark.parametrize(
    ("draw", "name", "message"),
    [
        (draw_heatmap, "tail", "'tail' is no joint of this model; known: nose, left_eye"),
        (draw_offsets, ("nose", "left_ankle"), "is no limb of this model; known: nose to left_eye, nose to right_eye"),
    ],
)
def test_a_name_that_is_none_is_one_line(explained, draw, name, message):
    with pytest.raises(UserError, match=message):
        draw(explained, name)


@pytest.mark.slow
def test_the_steps_of_a_model_end_with_its_prediction():
    """Random maps with peaks: many limbs are joined, somewhere."""
    config = small_config()
    config.data.update(eval_resize="long", eval_length=96)
    config.model.decode.update(heatmap_threshold=0.5, person_threshold=0.0)
    predictor = Predictor(config, *nnx.split(loud_model(config)), COCO)
    noise = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)
    inside, prediction = explain_picture(predictor, noise, threshold=0), predictor(noise, threshold=0)
    assert len(inside.steps) == len(COCO.limbs)
    assert len(prediction) > 2, "the test sees something"
    np.testing.assert_allclose(inside.prediction.keypoints, prediction.keypoints, atol=1e-2)
    np.testing.assert_allclose(inside.prediction.scores, prediction.scores, rtol=1e-4)
    assert len(inside.steps[-1]) == len(prediction), "nobody is left out where the threshold is 0"
    np.testing.assert_allclose(np.sort(inside.steps[-1].scores), np.sort(prediction.scores), rtol=1e-4)
    found = [(step.keypoint_scores > 0).sum() for step in inside.steps]
    assert found[0] < found[-1]
