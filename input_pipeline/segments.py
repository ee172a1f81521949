"""Segmentations of annotation files, as records keep them: run-length codes in COCO's compressed form.

They say where on a picture somebody is whom training leaves out. A segmentation that is none, or not of its picture's
size, counts as missing: who is a person is told by box and joints.
"""

import re

import numpy as np
from pycocotools import mask as rle

NONE = b""  # of somebody without segmentation
CODE = re.compile(rb"(?:[P-o]{0,6}[0-O])+")  # characters of each number: up to six with a successor, one without
SMALLEST_POLYGON = 6  # numbers: three points
LARGEST = 1e9  # of a coordinate, either sign
LONGEST = 500_000  # pixels of an outline: pycocotools takes some 50 bytes for each, and crashes where it gets none


def is_segmentation(value: object) -> bool:
    """Whether this looks like polygons or a run-length code."""
    if isinstance(value, dict):
        return isinstance(value.get("counts"), list | str)
    return isinstance(value, list) and any(map(is_polygon, value))


def is_polygon(value: object) -> bool:
    """x, y, x, y, ... of three points or more; NaN is no number."""
    if not isinstance(value, list) or len(value) % 2 or len(value) < SMALLEST_POLYGON:
        return False
    return all(isinstance(v, int | float) and -LARGEST <= v <= LARGEST for v in value)


def encode_segments(lists: dict) -> dict[int, bytes]:
    """Annotation id -> code, of the lists of a file without problems."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in lists["images"]}
    return {
        entry["id"]: encode_segment(entry.get("segmentation"), *sizes[entry["image_id"]])
        for entry in lists["annotations"]
    }


def encode_segment(value: object, height: int, width: int) -> bytes:
    """The code of a segmentation on a picture of `height` x `width` pixels."""
    if not is_segmentation(value):
        return NONE
    try:
        code = of_polygons(value, height, width) if isinstance(value, list) else of_runs(value, height, width)
    except (TypeError, ValueError, OverflowError):
        return NONE
    counts = run_lengths(code["counts"])
    return code["counts"] if min(counts, default=-1) >= 0 and sum(counts) == height * width else NONE


def of_polygons(polygons: list, height: int, width: int) -> dict:
    """The code of the union of polygons, cut off at the picture's border: one far outside would take all memory.

    Raises:
        ValueError: an outline goes to and fro for more than LONGEST pixels, which would take it too.
    """
    inside = [np.reshape(p, (-1, 2)).clip(0, (width, height)) for p in polygons if is_polygon(p)]
    if any(outline_length(polygon) > LONGEST for polygon in inside):
        raise ValueError
    return rle.merge(rle.frPyObjects([polygon.ravel().tolist() for polygon in inside], height, width))


def outline_length(polygon: np.ndarray) -> float:
    """Pixels of the closed outline of a polygon [P, 2], the larger of width and height of each side."""
    return np.abs(polygon - np.roll(polygon, 1, 0)).max(1).sum()


def of_runs(value: dict, height: int, width: int) -> dict:
    """The code of run lengths, compressed already or not.

    Raises:
        ValueError: they are of another size, do not add up to it, or cannot be read.
    """
    counts = value["counts"]
    if value.get("size") != [height, width]:
        raise ValueError
    if isinstance(counts, list):
        # pycocotools writes six characters for each at most, and beyond its memory where a number needs more.
        if not all(isinstance(c, int | float) and c >= 0 for c in counts) or sum(counts) != height * width:
            raise ValueError
        return rle.frPyObjects(value, height, width)
    code = counts.encode()
    if not CODE.fullmatch(code):
        raise ValueError
    return {"size": [height, width], "counts": code}


def decode_segment(code: bytes, height: int, width: int) -> np.ndarray:
    """bool [height, width]; nothing where there is no segmentation."""
    if code == NONE:
        return np.zeros((height, width), bool)
    counts = run_lengths(code)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def run_lengths(code: bytes) -> list[int]:
    """How many pixels, column by column, lie outside, then inside, then outside again, ...

    COCO's form: five bits a character, the lowest first, in two's complement; from the fourth number on the difference
    to the last but one.
    """
    counts: list[int] = []
    value = shift = 0
    for character in code:
        bits = character - ord("0")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts
