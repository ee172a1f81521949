"""Thresholds that are none are one line wherever one is taken; before, they found nobody without a word."""

import decimal

import numpy as np
import pytest
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.draw import draw_poses
from querypose_jax.inference.exported import Exported
from querypose_jax.inference.figures import explain_picture
from querypose_jax.inference.files import predict_files
from querypose_jax.inference.predict_input import predict_input
from querypose_jax.inference.threshold import checked_threshold
from querypose_jax.inference.video_files import predict_video
from querypose_jax.runs.predict import predict
from querypose_jax.skeletons import COCO

NONE = [float("nan"), float("inf"), 30, 1.0001, -0.1, "0.5", b"1", True, None, [0.3], [[1], [2, 3]], 1j, 10**400]


@pytest.mark.parametrize("threshold", NONE, ids=lambda value: repr(value)[:12])
def test_what_is_no_number_from_0_to_1_is_one_line(threshold):
    with pytest.raises(UserError, match="^threshold .*: must be a number from 0 to 1$") as caught:
        checked_threshold(threshold)
    assert "\n" not in str(caught.value)


def test_every_kind_of_number_from_0_to_1_is_taken():
    for given in (0, 1, 0.25, np.float32(0.25), np.array(0.25), decimal.Decimal("0.25")):
        assert checked_threshold(given) == float(given)


GREY = Image.new("RGB", (64, 64), (99, 99, 99))
NOBODY = np.zeros((0, 4)), np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0)


@pytest.mark.parametrize("threshold", [float("nan"), 30, "0.5"])
@pytest.mark.parametrize(
    "take",
    [
        lambda predictor, folder, threshold: predictor(GREY, threshold),
        lambda predictor, folder, threshold: predictor([GREY], threshold),
        lambda predictor, folder, threshold: predictor("film.mp4", threshold),
        lambda predictor, folder, threshold: predictor.stream([GREY], threshold),  # at once, not at the first picture
        lambda predictor, folder, threshold: predictor.video("film.mp4", threshold),
        lambda predictor, folder, threshold: explain_picture(predictor, GREY, threshold),
        lambda predictor, folder, threshold: draw_poses(GREY, *NOBODY, COCO, threshold),
        lambda predictor, folder, threshold: predict_files(predictor, str(folder / "a.png"), "out", threshold),
        lambda predictor, folder, threshold: predict_video(predictor, "film.mp4", "out", threshold),
        lambda predictor, folder, threshold: predict_input(predictor, "0", "out", threshold),
        lambda predictor, folder, threshold: predict(None, folder, None, False, "a.png", "o", threshold, False, False),
        lambda predictor, folder, threshold: Exported.predict(None, [np.asarray(GREY)], threshold),
    ],
)  # fmt: skip
def test_wherever_a_threshold_is_taken_it_is_looked_at_first(predictor, take, threshold, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GREY.save("a.png")
    with pytest.raises(ValueError, match="^threshold .*: must be a number from 0 to 1$"):
        take(predictor, tmp_path, threshold)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
