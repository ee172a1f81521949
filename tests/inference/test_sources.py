"""What counts as pictures and videos, and what of it is told."""

import codecs
import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.predict_input import predict_input
from querypose_jax.inference.sources import SUFFIXES, as_sources, list_pictures, open_pictures
from querypose_jax.inference.video import has_video_suffix, open_video
from querypose_jax.pictures import FORMATS, TURNS, PictureError
from tests.inference.test_files import listing, write_red

RED = Image.new("RGB", (60, 40), (200, 0, 0))


def names(found: list[Path]) -> list[str]:
    return [path.name for path in found]


def test_every_suffix_of_every_format_that_is_read_counts_in_folders():
    Image.init()
    written = {suffix for suffix, kind in Image.EXTENSION.items() if kind in (*FORMATS, "MPO")}
    assert written <= SUFFIXES
    assert not any(map(has_video_suffix, SUFFIXES))


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".jfif", "JPEG"), (".JPE", "JPEG"), (".mpo", "MPO"), (".avif", "AVIF"), (".jp2", "JPEG2000"), (".pgm", "PPM"),
     (".dib", "BMP"), (".apng", "PNG"), (".pnm", "PPM")],
)  # fmt: skip
def test_pictures_under_rarer_suffixes_are_predicted_from_folders(predictor, tmp_path, suffix, kind):
    (tmp_path / "in").mkdir()
    RED.save(tmp_path / "in" / f"a{suffix}", kind)
    assert predict_input(predictor, str(tmp_path / "in"), str(tmp_path / "out")).startswith("1 picture ")
    assert listing(tmp_path / "out") == ["a.jpg", "predictions.json"]


def test_pictures_have_nobody_to_follow_over_frames(predictor, tmp_path):
    RED.save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="a.jpg: --track and --smooth: people are followed over the frames of a video"):
        predict_input(predictor, str(tmp_path / "a.jpg"), str(tmp_path / "out"), track=True, smooth=True)
    assert not list(tmp_path.glob("out/*.jpg"))


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [
        (".3gp", "3gp", "mpeg4"), (".3g2", "3g2", "mpeg4"), (".ts", "mpegts", "libx264"), (".mts", "mpegts", "libx264"),
        (".M2TS", "mpegts", "mpeg2video"), (".flv", "flv", "flv"), (".f4v", "f4v", "libx264"),
        (".vob", "vob", "mpeg2video"), (".asf", "asf", "wmv2"), (".m2v", "mpeg2video", "mpeg2video"),
        (".y4m", "yuv4mpegpipe", "wrapped_avframe"), (".mjpeg", "mjpeg", "mjpeg"), (".h264", "h264", "libx264"),
        (".nut", "nut", "mpeg4"),
    ],
)  # fmt: skip
def test_films_under_rarer_suffixes_are_read_as_films(tmp_path, suffix, container, codec):
    av = pytest.importorskip("av", reason="videos need PyAV: pip install '.[video]'")
    path = tmp_path / f"film{suffix}"
    assert has_video_suffix(path)
    with av.open(str(path), "w", format=container) as film:
        stream = film.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height = 128, 96
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for _ in range(25):
            film.mux(stream.encode(av.VideoFrame.from_image(RED.resize((128, 96)))))
        film.mux(stream.encode(None))
    with open_video(path) as video:
        assert len(list(video.frames)) == 25


def test_a_folder_of_films_is_predicted_and_what_lies_beside_pictures_is_told(predictor, tmp_path, capsys):
    write_red(tmp_path / "in" / "a.png")
    for name in ("film.mkv", "raw.CR2", "notes.txt", "._a.png"):
        (tmp_path / "in" / name).write_bytes(b"x")
    predict_input(predictor, str(tmp_path / "in"), str(tmp_path / "out"))
    assert "left out: 3 files of " in (said := capsys.readouterr().out)
    assert "no pictures by their suffix (.cr2, .mkv, .txt)" in said
    (tmp_path / "in" / "a.png").unlink()
    with pytest.raises(UserError, match="none could be|cannot be opened as a video|not installed"):
        predict_input(predictor, str(tmp_path / "in"), str(tmp_path / "out"))


@pytest.mark.parametrize("pattern", ["in", "in/*"])
def test_links_that_lead_nowhere_are_told(predictor, tmp_path, capsys, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    write_red(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.jpg").symlink_to("gone.jpg")
    (tmp_path / "in" / "c.jpg").symlink_to("c.jpg")  # to itself
    (tmp_path / "in" / "d.jpg").symlink_to("a.png")
    (tmp_path / "in" / "e.jpg").mkdir()
    assert predict_input(predictor, pattern, "out").startswith("2 pictures")
    said = capsys.readouterr().out
    assert "skipped: in/b.jpg: leads to gone.jpg, which is not there" in said
    assert "skipped: in/c.jpg: " in said
    with pytest.raises(PictureError, match="leads to gone.jpg"):
        predictor("in/b.jpg")


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + "a.png\nä.png\n".encode(),
        codecs.BOM_UTF8 + "a.png\r\nä.png\r\n".encode(),
        "\ufeffa.png\r\nä.png".encode("utf-16-le"),
        "\ufeffa.png\nä.png\n".encode("utf-16-be"),
        "a.png \n\n\tä.png".encode(),
    ],
)
def test_a_list_may_begin_with_a_byte_order_mark(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert names(list_pictures(tmp_path / "list.txt")) == ["a.png", "ä.png"]


def test_a_list_keeps_names_with_rare_line_breaks_in_them_and_refuses_other_codes(tmp_path):
    (tmp_path / "list.txt").write_text("a\u2028b.png\nc\x0b.png\n", encoding="utf-8")
    assert names(list_pictures(tmp_path / "list.txt")) == ["a\u2028b.png", "c\x0b.png"]
    (tmp_path / "list.txt").write_bytes("ä.png".encode("latin-1"))
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        list_pictures(tmp_path / "list.txt")


def test_names_that_no_file_can_have_are_one_line(predictor):
    for name in ("a\0b.png", "a" * 5000, "a" * 300 + "/*.png"):
        with pytest.raises(UserError) as caught:
            predictor(name)
        assert "\n" not in str(caught.value)


def test_one_picture_is_a_stream_of_one(predictor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        RED.save(name)
    (tmp_path / "list.txt").write_text("b.png\n")
    for given in ("a.png", Path("a.png"), "list.txt", RED, np.asarray(RED), (tmp_path / "a.png").read_bytes()):
        assert len(list(predictor.stream(given))) == 1
    for given in (tmp_path, str(tmp_path), "*.png", np.stack([np.asarray(RED)] * 2), (RED for _ in range(2))):
        assert len(list(predictor.stream(given))) == 2
    with pytest.raises(UserError, match=r"film.mp4: is a video; Predictor.video"):
        predictor.stream("film.mp4")
    for given in (3, None, 0.5):
        with pytest.raises(UserError, match="is no picture and no list of them"):
            predictor.stream(given)


def cut_png() -> bytes:
    """A file that breaks off; Pillow finds out when its pixels are wanted."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()[:3000]


def closed() -> Image.Image:
    picture = RED.copy()
    picture.close()
    return picture


class Sick(np.ndarray):
    """An array that looks like a picture until its pixels are read."""

    @property
    def __array_interface__(self):
        raise OSError("the device is gone")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda _: Image.open(io.BytesIO(cut_png())), "truncated"),
        (lambda _: closed(), "closed"),
        (lambda _: Image.new("F", (9, 9)), "floats"),
        (lambda _: Image.new("RGB", (0, 9)), "no pixels"),
        (lambda _: np.zeros((9, 9), np.uint8), "shape"),
        (lambda _: np.zeros((9, 9, 3)), "float64"),
        (lambda _: np.zeros((0, 9, 3), np.uint8), "shape"),
        (lambda _: np.zeros((9, 9, 3), np.uint8).view(Sick), "gone"),
        (lambda _: b"", "cannot be decoded"),
        (lambda _: cut_png(), "truncated"),
        (lambda folder: folder, "directory"),
        (lambda _: None, "NoneType is no picture"),
        (lambda _: "film.mp4", "is a video"),
    ],
)
def test_a_stream_tells_of_whatever_is_no_picture_by_its_place_and_goes_on(predictor, tmp_path, make, why):
    told = []
    found = list(predictor.stream([RED, make(tmp_path), RED, RED], on_error=told.append))
    assert len(found) == 3
    assert [error.index for error in told] == [1]
    assert why in str(told[0])
    assert "\n" not in str(told[0])
    if not isinstance(make(tmp_path), str | Path):
        assert str(told[0]).startswith("picture 1 (from 0): ")


def test_predictions_before_a_picture_that_fails_come_before_its_error(predictor):
    found = predictor.stream([RED, RED, None, RED])
    assert [len(next(found).picture.size) for _ in range(2)] == [2, 2]
    with pytest.raises(PictureError, match="picture 2"):
        next(found)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16"]
)
def test_pillow_pictures_of_every_other_mode_are_read(mode):
    [(_, picture)] = open_pictures(as_sources(Image.new(mode, (9, 7))))
    assert (picture.mode, picture.size) == ("RGB", (9, 7))


def test_premultiplied_greys_keep_their_colours():
    grey = Image.new("LA", (4, 4), (200, 128)).convert("La")
    [(_, picture)] = open_pictures([grey])
    assert abs(picture.getpixel((0, 0))[0] - 200) <= 2


HEIC_WITHOUT = """
import sys; sys.modules["pillow_heif"] = None
from querypose_jax.pictures import read_picture
try:
    read_picture(b"\\0\\0\\0\\x18ftypheic" + bytes(90), "photo.heic")
except ValueError as error:
    print(error)
"""


def test_heic_without_its_package_names_the_extra():
    done = subprocess.run([sys.executable, "-c", HEIC_WITHOUT], capture_output=True, text=True, check=True)
    extra = "pip install '.[heic]' in the clone"
    assert done.stdout == f"photo.heic: HEIC is read by pillow-heif, which is not installed; {extra}\n"


@pytest.mark.parametrize("turn", range(1, 9))
def test_heic_is_read_upright_from_files_folders_and_bytes(predictor, tmp_path, turn):
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs pillow-heif: pip install '.[heic]'")
    picture = Image.new("RGB", (128, 96), (0, 0, 120))
    picture.paste((255, 0, 0), (64, 0, 128, 48))
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "in" / "photo.HEIC"
    path.parent.mkdir()
    heif.from_pillow(picture).save(path, quality=95, exif=exif.tobytes())
    [(name, read)] = open_pictures([path])
    assert name == str(path)
    expected = picture.transpose(TURNS[turn]) if turn in TURNS else picture
    assert read.size == expected.size
    assert np.abs(np.asarray(read).astype(int) - np.asarray(expected)).mean() < 5
    [(_, again)] = open_pictures([path.read_bytes()])
    np.testing.assert_array_equal(np.asarray(again), np.asarray(read))
    assert len(predictor(path.parent)) == 1
    told = []
    assert not list(predictor.stream([path.read_bytes()[:600]], on_error=told.append))
    assert "cannot be decoded" in str(told[0])
