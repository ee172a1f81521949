"""Annotation files in COCO form -> the annotation index, with every surprise named."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from input_pipeline.annotations import Annotations
from querypose_jax.errors import UserError
from querypose_jax.skeletons import Skeleton

IMAGE_KEYS = ("id", "file_name", "height", "width")
OBJECT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "keypoints", "num_keypoints")
LARGEST_ID = {"image": 2**31 - 1, "annotation": 2**63 - 1}  # a batch holds image ids as int32


class Problem(NamedTuple):
    """An entry that cannot be used."""

    kind: str
    """image | annotation, the list it is in."""
    place: int
    """Its place in that list."""
    message: str


def read_annotation_file(path: Path, skeleton: Skeleton) -> Annotations:
    """Reads a file in COCO form; pictures sorted by id, the objects of a picture in the order of the file.

    Raises:
        UserError: no JSON, a missing key, a value of the wrong shape, a duplicate or unknown id; it says where.
    """
    content = read_json(path)
    for problem in find_problems(content, skeleton):
        raise UserError(f"{path}: {problem.message}; input_pipeline.check lists all such entries")
    return index_of_content(content, skeleton)


def read_json(path: Path) -> dict:
    """The content of a file that has the lists of a file in COCO form.

    Raises:
        UserError: no JSON, or something else than COCO's.
    """
    try:
        content = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not JSON ({error}); download or export it again") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise UserError(f"{path}: has no lists 'images' and 'annotations'; a file in COCO form is wanted")
    return content


def find_problems(content: dict, skeleton: Skeleton) -> Iterator[Problem]:
    """Everything that keeps a file from being read, entry by entry."""
    known: dict[str, set[int]] = {"image": set(), "annotation": set()}
    for kind, keys in (("image", IMAGE_KEYS), ("annotation", OBJECT_KEYS)):
        for place, entry in enumerate(content[f"{kind}s"]):
            message = _key_problem(entry, keys, known[kind], LARGEST_ID[kind])
            if not message:
                known[kind].add(entry["id"])
                is_image = kind == "image"
                message = _image_problem(entry) if is_image else _object_problem(entry, known["image"], skeleton)
            if message:
                yield Problem(kind, place, f"{kind} number {place}{message}")


def _key_problem(entry: object, keys: tuple[str, ...], known: set[int], largest: int) -> str:
    missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
    if missing:
        return f" lacks {missing[0]!r} (wanted are {', '.join(keys)})"
    if not isinstance(entry["id"], int) or not 0 <= entry["id"] <= largest or entry["id"] in known:
        return f" has the id {entry['id']!r}; ids must be integers from 0 to {largest}, each used once"
    return ""


def _image_problem(image: dict) -> str:
    sides = image["height"], image["width"]
    is_good = all(isinstance(side, int) and side > 0 for side in sides) and isinstance(image["file_name"], str)
    return "" if is_good else f" (id {image['id']}) needs a file name and a height and width of whole pixels"


def _object_problem(entry: dict, images: set[int], skeleton: Skeleton) -> str:
    if entry["image_id"] not in images:
        return f" (id {entry['id']}) belongs to image {entry['image_id']!r}, which the file does not list"
    if not _is_numbers(entry["bbox"], 4):
        return f" (id {entry['id']}): bbox must be four finite numbers x, y, w, h"
    if not _is_numbers(entry["keypoints"], 3 * skeleton.num_keypoints):
        wanted = f"{3 * skeleton.num_keypoints} finite numbers, x, y, visibility of each joint of {skeleton.name!r}"
        return f" (id {entry['id']}): keypoints must be {wanted}"
    if not _is_numbers([entry["area"], entry["num_keypoints"], entry["iscrowd"], entry["category_id"]], 4):
        return f" (id {entry['id']}): area, num_keypoints, iscrowd and category_id must be numbers"
    return ""


def index_of_content(content: dict, skeleton: Skeleton) -> Annotations:
    """The annotation index of a file without problems."""
    images = sorted(content["images"], key=lambda image: image["id"])
    row_of = {image["id"]: row for row, image in enumerate(images)}
    objects = sorted(
        content["annotations"], key=lambda entry: row_of[entry["image_id"]]
    )  # order inside a picture stays
    categories = {entry["category_id"]: str(entry["category_id"]) for entry in objects}
    categories |= {c["id"]: c["name"] for c in content.get("categories", []) if {"id", "name"} <= c.keys()}
    label_of = {category: label for label, category in enumerate(sorted(categories))}
    counts = np.bincount(np.array([row_of[entry["image_id"]] for entry in objects], int), minlength=len(images))
    crowd = np.array([entry["iscrowd"] for entry in objects], bool)
    degenerate = np.array([_is_degenerate(entry.get("segmentation")) for entry in objects], bool)

    def column(key: str, dtype: type, shape: tuple[int, ...] = ()) -> np.ndarray:
        return np.array([entry[key] for entry in objects], dtype).reshape(-1, *shape)

    return Annotations(
        image_id=np.array([image["id"] for image in images], np.int64),
        file_name=np.array([image["file_name"] for image in images], np.str_),
        size=np.array([(image["height"], image["width"]) for image in images], np.int32).reshape(-1, 2),
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        object_id=column("id", np.int64),
        bbox=column("bbox", np.float64, (4,)),
        area=column("area", np.float64),
        is_crowd=crowd,
        is_target=~crowd & ~degenerate,
        category_id=column("category_id", np.int32),
        label=np.array([label_of[entry["category_id"]] for entry in objects], np.int32),
        keypoints=column("keypoints", np.float64, (skeleton.num_keypoints, 3)),
        num_keypoints=column("num_keypoints", np.int32),
        category_names=np.array([categories[c] for c in label_of], np.str_),
        category_ids=np.array(list(label_of), np.int32),
    )


def _is_numbers(values: object, count: int) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(isinstance(v, int | float) for v in values) and bool(np.isfinite(values).all())


def _is_degenerate(segmentation: object) -> bool:
    """Official: polygons are given and none has three points (a run-length code is kept)."""
    if not isinstance(segmentation, list) or not segmentation:
        return False
    return not any(len(polygon) % 2 == 0 and len(polygon) >= 6 for polygon in segmentation)
