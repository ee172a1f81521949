"""Reading pictures of any kind; one rule for canvases; pictures at their top left."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from querypose_jax.pictures import EXIF_ORIENTATION, PictureError, read_picture
from querypose_jax.recipes.canvas import choose_canvas, place_on_canvas
from querypose_jax.recipes.resize import resized_shape

LADDER = ((512, 864), (608, 800), (864, 512), (1344, 1344))


def test_canvas_is_the_smallest_that_holds_the_picture():
    assert choose_canvas(500, 790, LADDER, 32) == (512, 864)
    assert choose_canvas(513, 790, LADDER, 32) == (608, 800)
    assert choose_canvas(800, 500, LADDER, 32) == (864, 512)
    assert choose_canvas(1000, 1000, LADDER, 32) == (1344, 1344)


def test_canvas_beyond_the_ladder_is_the_next_multiple_of_32():
    assert choose_canvas(1345, 100, LADDER, 32) == (1376, 128)
    assert choose_canvas(64, 33, (), 32) == (64, 64)


def test_exact_canvas_is_the_next_multiple_of_32_whatever_the_ladder_holds():
    assert choose_canvas(500, 790, LADDER, 32, exact=True) == (512, 800)


def test_a_picture_lies_at_the_top_left_and_the_rest_is_zero():
    canvas = place_on_canvas(Image.new("RGB", (3, 2), (7, 8, 9)), 4, 5)
    assert canvas.shape == (4, 5, 3)
    assert (canvas[:2, :3] == (7, 8, 9)).all()
    assert canvas.sum() == 2 * 3 * (7 + 8 + 9)
    assert canvas.dtype == np.uint8


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


RAMP = (np.arange(256, dtype=np.uint16).reshape(16, 16) << 8) | 17  # every upper byte once


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_keep_their_upper_8(kind):
    read = np.asarray(read_picture(saved(Image.fromarray(RAMP), kind)))
    np.testing.assert_array_equal(read[..., 0], RAMP >> 8)
    assert (read == read[..., :1]).all()


def test_16_bits_in_a_pgm_keep_their_upper_8():
    content = b"P5 16 16 65535\n" + RAMP.astype(">u2").tobytes()
    np.testing.assert_array_equal(np.asarray(read_picture(content))[..., 0], RAMP >> 8)


def test_floats_are_refused_because_nobody_knows_their_range():
    with pytest.raises(PictureError, match="cannot be decoded .*floats"):
        read_picture(saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


def test_a_palette_with_transparency_is_read_without_a_warning():
    picture = Image.new("P", (4, 4))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    content = saved(picture, "PNG", transparency=b"\x80\xff")
    assert read_picture(content).getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("turn", range(1, 9))
def test_all_eight_exif_orientations_are_turned_as_pillow_does(turn):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = turn
    content = saved(Image.fromarray(RAMP.astype(np.uint8)[:5]), "PNG", exif=exif)
    with Image.open(io.BytesIO(content)) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    np.testing.assert_array_equal(np.asarray(read_picture(content)), np.asarray(expected))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on it
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_orientation_that_cannot_be_read_harms_no_pixel(kind, exif):
    picture = Image.new("RGB", (16, 8), (10, 20, 30))
    np.testing.assert_array_equal(
        np.asarray(read_picture(saved(picture, kind, exif=exif))), np.asarray(read_picture(saved(picture, kind)))
    )


def huge_png(width: int, height: int) -> bytes:
    """A file of under a hundred bytes that announces a picture of any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_500, 14_000, 60_000])  # Pillow is silent or warns, warns, raises
def test_a_picture_that_announces_too_many_pixels_is_refused_before_it_is_decoded(side):
    with pytest.raises(PictureError, match="^bomb.png: has more than 89,478,485 pixels; scale it down$"):
        read_picture(huge_png(side, side), name="bomb.png")


def test_a_format_that_another_program_would_draw_is_not_opened():
    with pytest.raises(PictureError, match="cannot be decoded as a picture"):
        read_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")


def test_one_pixel_stays_of_the_thinnest_picture():
    assert resized_shape(1, 8000, 800, 1333) == (1, 1333)
    assert resized_shape(8000, 1, 800, 1333) == (1333, 1)


WHOLE = {
    kind: saved(Image.fromarray(RAMP.astype(np.uint8)), kind) for kind in ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP")
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_damaged_picture_is_one_line_or_read(kind, data):
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    said = ""
    try:
        assert read_picture(bytes(content), name="it").mode == "RGB"
    except PictureError as error:
        said = str(error)
    assert "\n" not in said and said.startswith("it: " if said else "")
