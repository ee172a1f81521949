"""A label file of YOLO's form: a line per person, numbers relative to the picture's sides.

    class  cx cy w h  x y visibility  x y visibility ...

Numbers are taken as they are written: a pixel is the decimal number times the side, rounded once. So what
`written_line` writes comes back as the same numbers to the last bit, and pixels of a line with six digits are written
as this line again.
"""

from collections.abc import Sequence
from decimal import Context, Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from querypose_jax.errors import UserError, one_line

CONTEXT = Context(prec=60, traps=[])  # what cannot be worked out is NaN or infinite
SMALLEST_STEP = Decimal("1e-20")  # of a pixel: cx - w / 2 of a box at the border is then 0, not 1e-28
DIGITS = (6, 17, 30)  # after the point, tried one after the other; six are what tools write


def read_labels(
    path: Path, size: tuple[int, int], joints: int, has_visibility: bool, classes: int
) -> list[tuple[int, list[float], list[float]]]:
    """The people of a picture.

    Args:
        path: label file.
        size: h, w of the picture, upright.
        joints: K.
        has_visibility: a joint has three numbers. With two, what is at 0, 0 or has a negative number has no label.
        classes: how many there are.

    Returns:
        class, bbox (x, y, w, h in pixels) and keypoints (3 K numbers as in a COCO file) of each; a line of five
        numbers is a box without joints. NaN and infinity come back as such.

    Raises:
        UserError: a line of another form, with its number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a label file ({error})") from None
    width = 5 + joints * (3 if has_visibility else 2)
    people = []
    for number, line in enumerate(lines, 1):
        if not (words := line.split()):
            continue
        if len(words) not in (5, width):
            raise UserError(f"{path}, line {number}: has {len(words)} numbers, not {width} (kpt_shape) or 5 (a box)")
        try:
            values = [Decimal(word) for word in words]
        except InvalidOperation:
            raise UserError(f"{path}, line {number}: has something else than numbers") from None
        if not (values[0].is_finite() and 0 <= values[0] < classes and values[0] == int(values[0])):
            raise UserError(f"{path}, line {number}: class {one_line(words[0])} is none of the {classes} of names")
        keypoints = read_joints(values[5:], size, joints, 3 if has_visibility else 2)
        people.append((int(values[0]), read_box(values[1:5], size), keypoints))
    return people


def read_box(values: Sequence[Decimal], size: tuple[int, int]) -> list[float]:
    """cx, cy, w, h relative to the picture -> x, y, w, h in pixels."""
    cx, cy, w, h = values
    height, width = size
    if not all(value.is_finite() for value in values):
        return [float("nan")] * 4
    corner = [CONTEXT.subtract(c, CONTEXT.divide(side, Decimal(2))) for c, side in ((cx, w), (cy, h))]
    return [pixels(v, s) for v, s in zip((*corner, w, h), (width, height, width, height), strict=True)]


def read_joints(values: Sequence[Decimal], size: tuple[int, int], joints: int, numbers: int) -> list[float]:
    """x, y (, visibility) relative to the picture -> x, y, visibility in pixels; of no values, joints without label."""
    keypoints: list[float] = []
    height, width = size
    for j in range(joints):
        if not values:
            keypoints += [0.0, 0.0, 0.0]
            continue
        x, y = values[numbers * j : numbers * j + 2]
        is_known = x.is_finite() and y.is_finite()
        is_there = numbers == 3 or not is_known or not (x == y == 0 or x < 0 or y < 0)
        visibility = number(values[numbers * j + 2]) if numbers == 3 else 2.0
        keypoints += [pixels(x, width), pixels(y, height), visibility] if is_there else [0.0, 0.0, 0.0]
    return keypoints


def pixels(relative: Decimal, side: int) -> float:
    """The float that is nearest to a share of a side."""
    if not relative.is_finite():
        return float("nan")
    exact = CONTEXT.multiply(relative, Decimal(side))
    rounded = CONTEXT.quantize(exact, SMALLEST_STEP)
    return number(exact if rounded.is_nan() else rounded)  # more than 10^40 pixels have no such digits


def number(value: Decimal) -> float:
    """The nearest float, also of a NaN that signals."""
    return float("nan") if value.is_nan() else float(value)


def written_line(label: int, bbox: np.ndarray, keypoints: np.ndarray, size: tuple[int, int]) -> str:
    """A person as a line.

    Args:
        label: class from 0.
        bbox: float64 [4], x, y, w, h in pixels.
        keypoints: float64 [K, 3], as in a COCO file.
        size: h, w of the picture.
    """
    height, width = size
    x, w = written_span(float(bbox[0]), float(bbox[2]), width)
    y, h = written_span(float(bbox[1]), float(bbox[3]), height)
    words = [str(label), x, y, w, h]
    for px, py, visibility in keypoints.tolist():
        words += [written(px, width), written(py, height), f"{visibility:g}"]
    return " ".join(words)


def written(value: float, side: int) -> str:
    """A pixel as a share of a side, with as few digits as bring it back."""
    share = CONTEXT.divide(Decimal(value), Decimal(side))
    texts = (f"{share:.{digits}f}" for digits in DIGITS)
    return next((text for text in texts if pixels(Decimal(text), side) == value), f"{share:f}")


def written_span(low: float, length: float, side: int) -> tuple[str, str]:
    """Centre and length of a span as shares of a side, with as few digits as bring both back."""
    share = CONTEXT.divide(Decimal(length), Decimal(side))
    half = CONTEXT.divide(Decimal(length), Decimal(2))
    centre = CONTEXT.divide(CONTEXT.add(Decimal(low), half), Decimal(side))
    for digits in DIGITS:
        c, s = f"{centre:.{digits}f}", f"{share:.{digits}f}"
        corner = CONTEXT.subtract(Decimal(c), CONTEXT.divide(Decimal(s), Decimal(2)))
        if pixels(corner, side) == low and pixels(Decimal(s), side) == length:
            return c, s
    return f"{centre:f}", f"{share:f}"
