"""Pictures as files: reading and writing. Pillow, as in the released code."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file

LARGEST_PICTURE = 89_478_485  # pixels; Pillow's own limit, 256 MiB of RGB
# The only formats that are opened. Pillow knows more, and hands some of them to other programs (EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})  # by pillow-heif
EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF's orientation -> what makes the picture upright
JPEG_QUALITY = 92  # of drawn pictures; below 90 thin coloured limbs smear


class PictureError(UserError):
    """A picture that cannot be read; the message says which one and why."""

    index: int | None = None
    """Its place among the pictures that were handed in together, from 0."""


def read_picture(source: str | Path | bytes, name: str = "") -> Image.Image:
    """Opens a picture as RGB with its EXIF orientation applied (grayscale, palette and CMYK are converted).

    Args:
        source: path, or the bytes of the file.
        name: what to call the picture in an error message, where source is bytes.

    Raises:
        PictureError: the file is missing, of none of FORMATS (nor HEIC, where pillow-heif is installed), damaged, or
            larger than LARGEST_PICTURE, which a small file can be made to say (a decompression bomb).
    """
    name = name or (str(source) if not isinstance(source, bytes) else "picture")
    with telling_which(name), open_file(source) as picture:
        if picture.width * picture.height > LARGEST_PICTURE:
            raise Image.DecompressionBombError
        return as_rgb(picture)


def open_file(source: str | Path | bytes) -> Image.Image:
    """A picture file as Pillow opens it: format and size are known, its pixels not read. Fails in Pillow's ways."""
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except UnidentifiedImageError:
        if not _is_heic(source):
            raise
    try:
        from pillow_heif import HeifImageFile
    except ModuleNotFoundError:
        said = "HEIC is read by pillow-heif, which is not installed; pip install '.[heic]' in the clone"
        raise PictureError(said) from None
    return HeifImageFile(io.BytesIO(source) if isinstance(source, bytes) else source)


def _is_heic(source: str | Path | bytes) -> bool:
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with open(source, "rb") as file:
            head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:] in HEIC_BRANDS


@contextmanager
def telling_which(name: str) -> Iterator[None]:
    """Whatever fails inside becomes a PictureError of one line that begins with the picture's name."""
    try:
        yield
    except FileNotFoundError:
        link = f"leads to {os.readlink(name)}, which is not there" if os.path.islink(name) else "no such file"
        raise PictureError(f"{name}: {link}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"{name}: has more than {LARGEST_PICTURE:,} pixels; scale it down") from None
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from None
    except Exception as error:  # damaged pictures fail in every way there is
        said = " ".join(str(error).split()) or type(error).__name__
        said = ", ".join(FORMATS) if isinstance(error, UnidentifiedImageError) else said
        raise PictureError(f"{name}: cannot be decoded as a picture ({said}); replace or remove it") from None


def as_rgb(picture: Image.Image) -> Image.Image:
    """A picture upright (its EXIF orientation applied) in 8-bit RGB.

    Grayscale, palette and CMYK are converted, transparency is left out. Of 16 bits the upper 8 stay: Pillow's own
    conversion would turn everything above 255 white.

    Raises:
        ValueError: pixels are floats, whose range nobody knows, or there are none.
        Exception: the picture is damaged or closed; Pillow fails in many ways.
    """
    if picture.mode == "F":
        raise ValueError("its pixels are floats")
    if 0 in picture.size:
        raise ValueError("it has no pixels")
    turn = TURNS.get(orientation(picture))
    upright = picture if turn is None else picture.transpose(turn)
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        upright = Image.fromarray((np.clip(np.asarray(upright, np.int32), 0, 2**16 - 1) >> 8).astype(np.uint8))
    if upright.mode == "P" and isinstance(upright.info.get("transparency"), bytes):
        upright = upright.convert("RGBA")  # the way that Pillow does not warn about
    if upright.mode == "La":
        upright = upright.convert("LA")  # the only way that there is
    return upright.convert("RGB")


def orientation(picture: Image.Image) -> int:
    """EXIF's number, 1 for upright: also where the entry is missing or cannot be read, which harms no pixel."""
    try:
        return int(picture.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # as many ways as there are broken files
        return 1


def write_jpeg(path: Path, picture: Image.Image) -> None:
    """Writes a picture as JPEG with full colour resolution, whole or not at all."""
    with whole_file(path) as temporary:
        picture.save(temporary, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
