"""Pictures as files and arrays: reading, the resize rule, the canvas. Pillow, as in the released code."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from querypose_jax.errors import UserError


class PictureError(UserError):
    """A picture that cannot be read; the message says which one and why."""


def read_picture(source: str | Path | bytes, name: str = "") -> Image.Image:
    """Opens a picture as RGB with its EXIF orientation applied (grayscale, palette and CMYK are converted).

    Args:
        source: path, or the bytes of the file.
        name: what to call the picture in an error message, where source is bytes.

    Raises:
        PictureError: the file is missing, is no picture or is truncated.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "picture")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except FileNotFoundError:
        raise PictureError(f"{name}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(f"{name}: cannot be decoded as a picture ({error}); replace or remove the file") from None


def resized_shape(height: int, width: int, short: int, longest: float) -> tuple[int, int]:
    """Height and width after scaling the short side to `short` with the long side at most `longest`.

    The rule of the released pipeline, rounding included: the short side becomes exactly `short`, the other one is
    scaled as a float; if the larger exceeds the limit both shrink; then int(v + 0.5). In squares the width is the short
    side.
    """
    scale = short / min(height, width)
    new_h, new_w = (short, scale * width) if height < width else (scale * height, short)
    if max(new_h, new_w) > longest:
        shrink = longest / max(new_h, new_w)
        new_h, new_w = new_h * shrink, new_w * shrink
    return int(new_h + 0.5), int(new_w + 0.5)


def resize(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Bilinear on 8 bits; Pillow's filter is widened when shrinking (antialiased)."""
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def place_on_canvas(picture: np.ndarray | Image.Image, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3] with the picture at the top left and zeros elsewhere."""
    pixels = np.asarray(picture)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return canvas
