"""Films that fail late keep their finished part under a name that says so."""

import re
from pathlib import Path

import numpy as np
import pytest

from querypose_jax.errors import UserError
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.video import open_video
from querypose_jax.inference.video_files import predict_video

pytest.importorskip("av", reason="videos need PyAV: pip install 'querypose_jax[video]'")

from tests.inference.films import lines_of, write_at


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


class Failing:
    """A predictor that ends in an error at a frame."""

    def __init__(self, predictor: Predictor, at: int, error: BaseException):
        self.predictor, self.at, self.error = predictor, at, error

    def stream(self, pictures, threshold):
        for index, prediction in enumerate(self.predictor.stream(pictures, threshold)):
            if index == self.at:
                raise self.error
            yield prediction


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (UserError("no more"), UserError),
        (OSError(28, "No space left on device"), UserError),
        (RuntimeError("out of memory"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_whatever_fails_late_in_a_film_keeps_the_finished_part_and_says_where(predictor, tmp_path, error, raised):
    film = write_at(tmp_path / "red.mkv", np.arange(30) / 25)
    with pytest.raises(raised) as caught:
        predict_video(Failing(predictor, 11, error), str(film), tmp_path / "out", progress=False)
    said = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    where = f"{tmp_path / 'out' / 'red.part.mp4'} and red.part.jsonl"
    assert f"the first 11 frames (0.4 s) are in {where}; the same command begins this video anew" in said
    assert "\n" not in said
    assert names(tmp_path / "out") == ["red.part.jsonl", "red.part.mp4"]
    assert [line["frame"] for line in lines_of(tmp_path / "out" / "red.part.jsonl")] == list(range(11))
    with open_video(tmp_path / "out" / "red.part.mp4") as kept:
        assert len(list(kept.frames)) == 11

    assert predict_video(predictor, str(film), tmp_path / "out", progress=False) == 30
    assert names(tmp_path / "out") == ["red.jsonl", "red.mp4"]


def test_a_film_that_fails_before_its_first_frame_leaves_nothing(predictor, tmp_path):
    film = write_at(tmp_path / "red.mkv", np.arange(3) / 25)
    with pytest.raises(UserError, match="^no more$"):
        predict_video(Failing(predictor, 0, UserError("no more")), str(film), tmp_path / "out", progress=False)
    assert not list(tmp_path.glob("out/*"))


def test_a_film_that_is_damaged_midway_keeps_what_comes_before(predictor, tmp_path):
    film = write_at(tmp_path / "red.avi", np.arange(40) / 25)
    content = film.read_bytes()
    start = [found.start() for found in re.finditer(b"\xff\xd8\xff", content)][20]  # of the 21st JPEG
    content = content[:start] + bytes(900) + content[start + 900 :]
    film.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be decoded after \d+ frames .*; the first \d+ frames") as caught:
        predict_video(predictor, str(film), tmp_path / "out", progress=False)
    assert "\n" not in str(caught.value)
    kept = len(lines_of(tmp_path / "out" / "red.part.jsonl"))
    assert kept == 20
