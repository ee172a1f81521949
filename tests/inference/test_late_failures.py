"""Films that fail late keep their finished part under a name that says so."""

import re
from pathlib import Path

import numpy as np
import pytest

from querypose_jax.errors import UserError
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.video import open_video
from querypose_jax.inference.video_files import predict_video

pytest.importorskip("av", reason="videos need PyAV: pip install '.[video]'")

from tests.inference.films import lines_of, write_at


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


class Failing:
    """A predictor that ends in an error at a frame."""

    def __init__(self, predictor: Predictor, at: int, error: BaseException):
        self.predictor, self.at, self.error = predictor, at, error
        self.skeleton, self.fingerprint = predictor.skeleton, predictor.fingerprint
        self.threshold = predictor.threshold

    def stream(self, pictures, threshold):
        for index, prediction in enumerate(self.predictor.stream(pictures, threshold)):
            if index == self.at:
                raise self.error
            yield prediction


class Counting(Failing):
    """A predictor that counts the pictures it is given."""

    def __init__(self, predictor: Predictor):
        super().__init__(predictor, -1, KeyboardInterrupt())
        self.pictures = 0

    def stream(self, pictures, threshold):
        for prediction in super().stream(pictures, threshold):
            self.pictures += 1
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
    assert f"the first 11 frames (0.4 s) are in {where}; the same command goes on from there" in said
    assert "\n" not in said
    assert names(tmp_path / "out") == ["red.part.jsonl", "red.part.mp4"]
    assert [line["frame"] for line in lines_of(tmp_path / "out" / "red.part.jsonl")[1:]] == list(range(11))
    with open_video(tmp_path / "out" / "red.part.mp4") as kept:
        assert len(list(kept.frames)) == 11

    again = Counting(predictor)
    assert predict_video(again, str(film), tmp_path / "out", progress=False) == 30
    assert again.pictures == 19
    assert names(tmp_path / "out") == ["red.jsonl", "red.mp4"]
    predict_video(predictor, str(film), tmp_path / "at once", progress=False)
    assert (tmp_path / "out" / "red.jsonl").read_text() == (tmp_path / "at once" / "red.jsonl").read_text()
    with open_video(tmp_path / "out" / "red.mp4") as resumed, open_video(tmp_path / "at once" / "red.mp4") as whole:
        for frame, other in zip(resumed.frames, whole.frames, strict=True):
            assert frame.seconds == other.seconds
            assert np.abs(np.subtract(frame.picture, other.picture, dtype=float)).mean() < 1


@pytest.mark.parametrize("left", [0, 1, 400], ids=["whole", "no end of line", "cut off"])
def test_a_line_that_was_cut_off_is_predicted_again(predictor, tmp_path, left):
    """As after a process that was killed: the film may be anything, the lines end anywhere."""
    film = write_at(tmp_path / "red.mkv", np.arange(30) / 25)
    with pytest.raises(KeyboardInterrupt):
        predict_video(Failing(predictor, 11, KeyboardInterrupt()), str(film), tmp_path / "out", progress=False)
    lines = tmp_path / "out" / "red.part.jsonl"
    lines.write_bytes(lines.read_bytes()[: -left or None])
    (tmp_path / "out" / "red.part.mp4").write_bytes(b"nothing")
    again = Counting(predictor)
    predict_video(again, str(film), tmp_path / "out", progress=False)
    assert again.pictures == (19 if not left else 20)
    assert [line["frame"] for line in lines_of(tmp_path / "out" / "red.jsonl")] == list(range(30))


def test_a_film_goes_on_from_its_own_command_alone(predictor, tmp_path):
    film = write_at(tmp_path / "red.mkv", np.arange(30) / 25)
    with pytest.raises(KeyboardInterrupt):
        predict_video(Failing(predictor, 11, KeyboardInterrupt()), str(film), tmp_path / "out", progress=False)
    with pytest.raises(UserError, match=r"unfinished work of another command \(threshold is 0.3 there and 0.5 here\)"):
        predict_video(predictor, str(film), tmp_path / "out", threshold=0.5, progress=False)
    write_at(film, np.arange(20) / 25)
    again = Counting(predictor)
    assert predict_video(again, str(film), tmp_path / "out", progress=False) == again.pictures == 20, "another film"


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
    assert len(lines_of(tmp_path / "out" / "red.part.jsonl")[1:]) == 20
