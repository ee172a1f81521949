"""Pictures as files: reading and writing. Pillow, as in the released code."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file

LARGEST_PICTURE = 89_478_485  # pixels; Pillow's own limit, 256 MiB of RGB
# The only formats that are opened. Pillow knows more, and hands some of them to other programs (EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
JPEG_QUALITY = 92  # of drawn pictures; below 90 thin coloured limbs smear


class PictureError(UserError):
    """A picture that cannot be read; the message says which one and why."""


def read_picture(source: str | Path | bytes, name: str = "") -> Image.Image:
    """Opens a picture as RGB with its EXIF orientation applied (grayscale, palette and CMYK are converted).

    Args:
        source: path, or the bytes of the file.
        name: what to call the picture in an error message, where source is bytes.

    Raises:
        PictureError: the file is missing, of none of FORMATS, damaged, or larger than LARGEST_PICTURE, which a small
            file can be made to say (a decompression bomb).
    """
    name = name or (str(source) if not isinstance(source, bytes) else "picture")
    too_large = f"{name}: has more than {LARGEST_PICTURE:,} pixels; scale it down"
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise PictureError(too_large)
            return as_rgb(picture)
    except FileNotFoundError:
        raise PictureError(f"{name}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(too_large) from None
    except PictureError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise PictureError(f"{name}: cannot be decoded as a picture ({known}); replace or remove the file") from None
    except Exception as error:  # damaged files fail in every way there is
        said = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{name}: cannot be decoded as a picture ({said}); replace or remove the file") from None


def as_rgb(picture: Image.Image) -> Image.Image:
    """A picture upright (its EXIF orientation applied) in 8-bit RGB.

    Grayscale, palette and CMYK are converted, transparency is left out. Of 16 bits the upper 8 stay: Pillow's own
    conversion would turn everything above 255 white.

    Raises:
        ValueError: pixels are floats, whose range nobody knows.
    """
    if picture.mode == "F":
        raise ValueError("its pixels are floats")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        upright = Image.fromarray((np.clip(np.asarray(upright, np.int32), 0, 2**16 - 1) >> 8).astype(np.uint8))
    if upright.mode == "P" and isinstance(upright.info.get("transparency"), bytes):
        upright = upright.convert("RGBA")  # the way that Pillow does not warn about
    return upright.convert("RGB")


def write_jpeg(path: Path, picture: Image.Image) -> None:
    """Writes a picture as JPEG with full colour resolution, whole or not at all."""
    with whole_file(path) as temporary:
        picture.save(temporary, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
