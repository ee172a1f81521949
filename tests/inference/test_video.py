"""Videos that the test makes itself go in, videos and lines of JSON come out."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.predict_input import predict_input
from querypose_jax.inference.tracking import NO_TRACK
from querypose_jax.inference.video import Frame, is_video, open_video
from querypose_jax.inference.video_files import predict_video
from querypose_jax.inference.video_writer import write_video

av = pytest.importorskip("av", reason="videos need PyAV: pip install '.[video]'")

RATE, COUNT = Fraction(25, 2), 21
SIZE = (128, 96)  # width, height


def picture(index: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A red rectangle that moves two pixels to the right per frame."""
    drawn = Image.new("RGB", size, (0, 0, 120))
    drawn.paste((255, 0, 0), (10 + 2 * index, 30, 30 + 2 * index, 80))
    return drawn


def write_film(path: Path, count: int = COUNT, rate: Fraction = RATE, size: tuple[int, int] = SIZE) -> Path:
    with write_video(path, rate) as writer:
        for index in range(count):
            writer.write(Frame(index, float(index / rate), picture(index, size)))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "red.mp4")


def test_a_video_goes_through_with_its_rate_and_number_of_frames(predictor, film, tmp_path):
    assert predict_video(predictor, str(film), tmp_path, progress=False) == COUNT
    with open_video(film) as before, open_video(tmp_path / "red.mp4") as after:
        assert (before.rate, before.num_frames) == (after.rate, after.num_frames) == (RATE, COUNT)
        times = [[frame.seconds for frame in video.frames] for video in (before, after)]
    np.testing.assert_allclose(times[0], np.arange(COUNT) / float(RATE), atol=1e-4)
    np.testing.assert_allclose(times[1], times[0], atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["red.jsonl", "red.mp4"]


def test_every_frame_is_a_line_with_its_people_where_they_are_in_this_frame(predictor, film, tmp_path):
    predict_video(predictor, str(film), tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "red.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(COUNT))
    assert [line["seconds"] for line in lines] == pytest.approx([i / 12.5 for i in range(COUNT)], abs=1e-4)
    lefts = [line["people"][0]["bbox"][0] for line in lines]
    assert lefts == pytest.approx([10 + 2 * i for i in range(COUNT)], abs=3)
    assert set(lines[0]["people"][0]) == {"category_id", "score", "bbox", "keypoints"}


def test_the_drawn_people_are_on_the_frames(predictor, film, tmp_path):
    predict_video(predictor, str(film), tmp_path, progress=False)
    with open_video(film) as before, open_video(tmp_path / "red.mp4") as after:
        for plain, drawn in zip(before.frames, after.frames, strict=True):
            difference = np.abs(np.asarray(plain.picture).astype(int) - np.asarray(drawn.picture)).max(-1) > 60
            assert difference.any()
            assert not difference[:, 90:].any()  # nobody comes this far


def test_predictor_reads_videos_lazily(predictor, film):
    found = predictor(film)
    first = next(found)
    assert first.boxes[0] == pytest.approx([10, 30, 30, 80], abs=3)
    assert len(list(found)) == COUNT - 1


def test_odd_sides_are_continued_by_one_pixel(tmp_path):
    film = write_film(tmp_path / "odd.mp4", count=2, size=(101, 75))
    with open_video(film) as video:
        assert {frame.picture.size for frame in video.frames} == {(102, 76)}


def test_several_videos_of_a_glob_keep_their_names(predictor, film, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(film.read_bytes())
    said = predict_input(predictor, f"{tmp_path}/*.mp4", str(tmp_path / "out"))
    assert said.startswith(f"2 videos with poses ({2 * COUNT} frames)")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.mp4", "a.jsonl", "b.mp4", "b.jsonl"}


def test_the_same_person_keeps_the_same_number(predictor, film, tmp_path):
    pytest.importorskip("trackers", reason="following people needs the package trackers")
    predict_video(predictor, str(film), tmp_path, threshold=0.7, track=True, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "red.jsonl").read_text().splitlines()]
    assert [[person["track"] for person in line["people"]] for line in lines] == [[NO_TRACK]] + [[0]] * (COUNT - 1)


def test_bad_videos_are_one_line_and_leave_nothing(predictor, film, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    content = film.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "red.mp4").write_bytes(content)
    (tmp_path / "empty.mts").write_bytes(b"")
    (tmp_path / "short.ts").write_bytes((b"G" + bytes(187)) * 20)
    cases = {
        "empty.mts": "cannot be opened as a video",
        "short.ts": "cannot be opened as a video",
        "broken.mp4": "cannot be opened as a video",
        "cut.mp4": "cannot be",
        "nowhere.mp4": "cannot be opened as a video",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            predict_video(predictor, str(tmp_path / name), tmp_path / "out", progress=False)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="name another one for the output"):
        predict_video(predictor, str(tmp_path / "red.mp4"), tmp_path, progress=False)
    assert not list(tmp_path.glob("out/*"))


def test_videos_and_cameras_are_told_from_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_video("x.MP4")
    assert is_video(0)
    assert is_video("1")
    assert not is_video("x.jpg")
    (tmp_path / "1").write_text("a file")
    assert not is_video("1")
