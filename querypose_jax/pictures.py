"""Pictures as files and arrays: reading, writing, the resize rule, the canvas. Pillow, as in the released code."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file

CANVAS_STEP = 32  # pixels: the coarsest stride of the backbones
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


def resized_shape(height: int, width: int, short: int, longest: float) -> tuple[int, int]:
    """Height and width after scaling the short side to `short` with the long side at most `longest`.

    The rule of the released pipeline, rounding included: the short side becomes exactly `short`, the other one is
    scaled as a float; if the larger exceeds the limit both shrink; then int(v + 0.5). In squares the width is the short
    side. One pixel at least stays, which the release does not see to.
    """
    scale = short / min(height, width)
    new_h, new_w = (short, scale * width) if height < width else (scale * height, short)
    if max(new_h, new_w) > longest:
        shrink = longest / max(new_h, new_w)
        new_h, new_w = new_h * shrink, new_w * shrink
    return max(int(new_h + 0.5), 1), max(int(new_w + 0.5), 1)


def resize(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Bilinear on 8 bits; Pillow's filter is widened when shrinking (antialiased)."""
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def choose_canvas(height: int, width: int, canvases: Sequence[tuple[int, int]], exact: bool = False) -> tuple[int, int]:
    """The canvas (height, width in pixels) on which a resized picture is evaluated or predicted.

    The smallest of `canvases` that holds it; its sides rounded up to 32 pixels where none does, or where `exact`
    (config.eval.canvas="exact", the released protocol).
    """
    holding = [(h * w, h, w) for h, w in canvases if h >= height and w >= width]
    if holding and not exact:
        return min(holding)[1:]
    return -(-height // CANVAS_STEP) * CANVAS_STEP, -(-width // CANVAS_STEP) * CANVAS_STEP


def place_on_canvas(picture: np.ndarray | Image.Image, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3] with the picture at the top left and zeros elsewhere."""
    canvas = np.zeros((height, width, 3), np.uint8)
    lay_on(canvas, picture)
    return canvas


def lay_on(canvas: np.ndarray, picture: np.ndarray | Image.Image) -> None:
    """Writes a picture to the top left of a canvas, uint8 [H, W, 3]."""
    pixels = np.asarray(picture)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
