"""Films whose times stand still, go back or begin anew."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from querypose_jax.inference.film_clock import FilmClock
from querypose_jax.inference.video import Frame, open_video
from querypose_jax.inference.video_files import predict_video
from querypose_jax.inference.video_writer import write_video

pytest.importorskip("av", reason="videos need PyAV: pip install '.[video]'")

from tests.inference.films import lines_of, red_frame, write_at, write_stream

RATE = Fraction(25)


def clock_times(told: Sequence[float | None]) -> list[float]:
    clock = FilmClock(RATE)
    return [clock.next(seconds) for seconds in told]


def test_times_that_go_on_are_kept_from_the_first_frame_on():
    assert clock_times([5, 5.04, 5.1, 9, 5000]) == pytest.approx([0, 0.04, 0.1, 4, 4995])


def test_a_frame_given_twice_lies_between_its_neighbours_whose_times_stay():
    assert clock_times([0, 0.04, 0.04, 0.08, 0.12]) == pytest.approx([0, 0.04, 0.06, 0.08, 0.12])
    assert clock_times([0, 0.04, 0.03, 0.07]) == pytest.approx([0, 0.04, 0.06, 0.07])


def test_a_joined_recording_follows_the_one_before_a_frame_later():
    assert clock_times([0, 10, 0, 0.04, 3600, 0, 0.04]) == pytest.approx(
        [0, 10, 10.04, 10.08, 3610.04, 3610.08, 3610.12]
    )
    assert clock_times([7200, 7210, -3, -2.96]) == pytest.approx([0, 10, 10.04, 10.08])


def test_frames_without_a_time_follow_at_the_rate():
    assert clock_times([5, None, None, 5.2]) == pytest.approx([0, 0.04, 0.08, 0.2])
    assert clock_times([None, None]) == pytest.approx([0, 0.04])


def test_a_clock_that_never_moves_gives_times_that_all_differ():
    times = clock_times([3.0] * 500)
    assert (np.diff(times) > 0.019).all()
    assert times[0] == 0


def test_a_film_with_frames_of_one_time_keeps_every_frame(predictor, tmp_path):
    film = write_at(tmp_path / "still.mkv", [0, 0.04, 0.04, 0.04, 0.2, 0.2, 0.24])
    assert predict_video(predictor, str(film), tmp_path / "out", progress=False) == 7
    seconds = [line["seconds"] for line in lines_of(tmp_path / "out" / "still.jsonl")]
    assert (np.diff(seconds) > 0).all()
    assert [seconds[0], seconds[1], seconds[4], seconds[6]] == pytest.approx([0, 0.04, 0.2, 0.24], abs=2e-3)
    with open_video(tmp_path / "out" / "still.mp4") as written:
        assert [frame.seconds for frame in written.frames] == pytest.approx(seconds, abs=1e-3)


def test_joined_recordings_are_one_film(predictor, tmp_path):
    parts = [write_stream(tmp_path / f"{count}.ts", count) for count in (60, 40)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert predict_video(predictor, str(joined), tmp_path / "out", progress=False) == 100
    seconds = [line["seconds"] for line in lines_of(tmp_path / "out" / "joined.jsonl")]
    assert np.diff(seconds) == pytest.approx([0.04] * 99, abs=1e-3)
    with open_video(tmp_path / "out" / "joined.mp4") as written:
        assert len(list(written.frames)) == 100


def test_two_frames_within_one_tick_and_a_gap_of_a_day_can_be_written(tmp_path):
    times = [0, 1e-7, 2e-7, 1.0, 100_000.0, 100_000.04]
    with write_video(tmp_path / "gap.mp4", RATE) as writer:
        for index, seconds in enumerate(times):
            writer.write(Frame(index, seconds, red_frame(index, (64, 64))))
    with open_video(tmp_path / "gap.mp4") as written:
        found = [frame.seconds for frame in written.frames]
    assert len(found) == len(times)
    assert found[3] == pytest.approx(1, abs=1e-3)
    assert found[5] - found[4] == pytest.approx(0.04, abs=1e-3)
