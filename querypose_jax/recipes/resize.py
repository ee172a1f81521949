"""The resize rule of the released QueryPose, and resizing itself."""

from PIL import Image


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
