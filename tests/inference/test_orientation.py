"""Films of all eight orientations: what a player shows is what goes in and what comes out."""

import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from querypose_jax.inference.orientation import shown
from querypose_jax.inference.video import open_video
from querypose_jax.inference.video_files import predict_video

av = pytest.importorskip("av", reason="videos need PyAV: pip install '.[video]'")

SIZE = (128, 96)  # width, height of the upright film
BOX = (10, 30, 40, 80)
ONE = 1 << 16
# Matrix (a b c d) of a film -> the pixels that it must hold for a player to show it upright.
STORED = {
    (1, 0, 0, 1): lambda shown: shown,
    (-1, 0, 0, 1): lambda shown: shown[:, ::-1],
    (1, 0, 0, -1): lambda shown: shown[::-1],
    (-1, 0, 0, -1): lambda shown: shown[::-1, ::-1],
    (0, 1, -1, 0): lambda shown: np.rot90(shown),  # anticlockwise here, clockwise when shown
    (0, -1, 1, 0): lambda shown: np.rot90(shown, -1),
    (0, 1, 1, 0): lambda shown: shown.swapaxes(0, 1),
    (0, -1, -1, 0): lambda shown: np.rot90(shown, 2).swapaxes(0, 1),
}


def shown_picture() -> np.ndarray:
    """A red rectangle low on the left of a blue picture: no two orientations of it look alike."""
    drawn = Image.new("RGB", SIZE, (0, 0, 120))
    drawn.paste((255, 0, 0), BOX)
    return np.asarray(drawn)


def write_turned(path: Path, matrix: tuple[int, int, int, int], scale: int = ONE, count: int = 3) -> Path:
    """A film whose display matrix turns it upright."""
    a, b, c, d = (int(value * scale) for value in matrix)
    pixels = np.ascontiguousarray(STORED[matrix](shown_picture()))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
        stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("matrix", STORED)
def test_poses_of_a_turned_or_mirrored_film_are_where_a_player_shows_the_person(predictor, tmp_path, matrix):
    film = write_turned(tmp_path / "turned.mp4", matrix)
    predict_video(predictor, str(film), tmp_path / "out", progress=False)
    for line in (tmp_path / "out" / "turned.jsonl").read_text().splitlines():
        x, y, w, h = json.loads(line)["people"][0]["bbox"]
        assert (x, y, x + w, y + h) == pytest.approx(BOX, abs=3)
    with open_video(tmp_path / "out" / "turned.mp4") as drawn:
        picture = np.asarray(next(drawn.frames).picture).astype(int)
    assert picture.shape == (96, 128, 3)
    assert np.abs(picture - shown_picture())[:, 60:].max() < 60  # nobody is there, and nothing is drawn


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_other_containers_tell_their_orientation_too(tmp_path, suffix):
    with open_video(write_turned(tmp_path / f"turned{suffix}", (0, 1, -1, 0))) as video:
        assert np.abs(np.asarray(next(video.frames).picture).astype(int) - shown_picture()).max() < 60


def test_a_matrix_that_also_scales_turns_all_the_same(tmp_path):
    with open_video(write_turned(tmp_path / "turned.mov", (0, -1, -1, 0), scale=ONE // 2)) as video:
        assert np.abs(np.asarray(next(video.frames).picture).astype(int) - shown_picture()).max() < 60


@pytest.mark.parametrize(("width", "pixel"), [(20_000, None), (9_000, Fraction(2)), (9_000, Fraction(1, 2))])
def test_a_frame_of_more_pixels_than_a_picture_may_have_takes_no_memory(width, pixel):
    """A small film can say any size, and pixels that are not square make it larger; the frame itself is not touched."""
    with pytest.raises(ValueError, match="pixels, more than 89,478,485"):
        shown(SimpleNamespace(width=width, height=9_000), pixel)
