"""Films that change their size midway."""

import numpy as np
import pytest

from querypose_jax.inference.video import open_video
from querypose_jax.inference.video_files import predict_video

pytest.importorskip("av", reason="videos need PyAV: pip install '.[video]'")

from tests.inference.films import lines_of, write_stream


@pytest.mark.parametrize(("first", "then"), [((128, 96), (256, 192)), ((256, 192), (128, 96)), ((128, 96), (96, 128))])
def test_a_film_that_changes_its_size_tells_all_people_in_pixels_of_the_film_written(predictor, tmp_path, first, then):
    parts = [write_stream(tmp_path / f"{i}.ts", 15, size) for i, size in enumerate((first, then))]
    film = tmp_path / "sizes.ts"
    film.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert predict_video(predictor, str(film), tmp_path / "out", progress=False) == 30
    lines = lines_of(tmp_path / "out" / "sizes.jsonl")
    with open_video(tmp_path / "out" / "sizes.mp4") as written:
        drawn = [np.asarray(frame.picture) for frame in written.frames]
    assert {frame.shape for frame in drawn} == {(first[1], first[0], 3)}
    scale = min(first[0] / then[0], first[1] / then[1])
    half = {0: np.array(first) / 4, 20: np.array(then) * scale / 4}  # half sizes of the rectangle on the film written
    for number, half_size in half.items():
        x, y, width, height = lines[number]["people"][0]["bbox"]
        middle = np.array(first) / 2
        expected = np.concatenate([middle - half_size, middle + half_size])
        assert (x, y, x + width, y + height) == pytest.approx(expected, abs=0.05 * max(first))
        reds = np.argwhere((drawn[number][..., 0] > 150) & (drawn[number][..., 2] < 90))
        assert np.median(reds, 0)[::-1] == pytest.approx(middle, abs=0.05 * max(first))
    assert [len(found.boxes) for found in predictor.video(film)] == [2] * 30
