"""Films whose stored pixels are not square: people come out in the pixels of the film as a player shows it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from querypose_jax.inference.orientation import square_size
from querypose_jax.inference.video import open_video
from querypose_jax.inference.video_files import predict_video

pytest.importorskip("av", reason="videos need PyAV: pip install '.[video]'")

import av

from tests.inference.films import lines_of

SHOWN = (192, 96)  # width, height as a player shows the film
BOX = (24, 30, 72, 80)
QUARTER_TURN = (0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30)


def write_squeezed(path: Path, stored: tuple[int, int], pixel: Fraction, turned: bool = False) -> Path:
    """A red rectangle on a blue film whose frames are stored in another size than they are shown in."""
    drawn = Image.new("RGB", SHOWN, (0, 0, 120))
    drawn.paste((255, 0, 0), BOX)
    if turned:
        drawn = drawn.rotate(-90, expand=True)
    pixels = np.asarray(drawn.resize(stored, Image.Resampling.BILINEAR))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = *stored, "yuv420p"
        stream.codec_context.sample_aspect_ratio = pixel
        if turned:
            stream.set_display_matrix(QUARTER_TURN)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("stored", "pixel", "turned"),
    [((96, 96), Fraction(2), False), ((192, 48), Fraction(1, 2), False), ((48, 192), Fraction(2), True)],
    ids=["wide pixels", "tall pixels", "wide pixels of a film on its side"],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_people_and_the_film_written_are_in_the_pixels_that_a_player_shows(
    predictor, tmp_path, stored, pixel, turned, suffix
):
    film = write_squeezed(tmp_path / f"film.{suffix}", stored, pixel, turned)
    predict_video(predictor, str(film), tmp_path / "out", progress=False)
    for line in lines_of(tmp_path / "out" / "film.jsonl"):
        x, y, w, h = line["people"][0]["bbox"]
        assert (x, y, x + w, y + h) == pytest.approx(BOX, abs=4)
    with open_video(tmp_path / "out" / "film.mp4") as written:
        pictures = [frame.picture for frame in written.frames]
    assert {picture.size for picture in pictures} == {SHOWN}
    reds = np.argwhere((np.asarray(pictures[0])[..., 0] > 150) & (np.asarray(pictures[0])[..., 2] < 90))
    assert np.median(reds, 0)[::-1] == pytest.approx(((BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2), abs=5)
    assert next(iter(predictor.video(film))).picture.size == SHOWN


def test_pixels_that_are_no_pixels_are_taken_for_square():
    assert square_size(720, 576, Fraction(64, 45)) == (1024, 576)
    assert square_size(720, 480, Fraction(8, 9)) == (720, 540)
    for nothing in (None, Fraction(0), Fraction(1), Fraction(100), Fraction(1, 100)):
        assert square_size(720, 576, nothing) == (720, 576)
