"""Annotation files in COCO form -> the annotation index, with every surprise named."""

import json
from pathlib import Path

import numpy as np

from input_pipeline.annotations import Annotations
from querypose_jax.errors import UserError
from querypose_jax.skeletons import Skeleton

IMAGE_KEYS = ("id", "file_name", "height", "width")
OBJECT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "keypoints", "num_keypoints")


def read_annotation_file(path: Path, skeleton: Skeleton) -> Annotations:
    """Reads a file in COCO form; pictures sorted by id, the objects of a picture in the order of the file.

    Raises:
        UserError: no JSON, a missing key, a value of the wrong shape, a duplicate or unknown id; it says where.
    """
    try:
        content = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not JSON ({error}); download or export it again") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise UserError(f"{path}: has no lists 'images' and 'annotations'; a file in COCO form is wanted")
    images = sorted(_checked(content["images"], IMAGE_KEYS, path, "image"), key=lambda image: image["id"])
    objects = _checked(content["annotations"], OBJECT_KEYS, path, "annotation")
    row_of = {image["id"]: row for row, image in enumerate(images)}
    for entry in objects:
        _check_object(entry, row_of, skeleton, path)
    objects.sort(key=lambda entry: row_of[entry["image_id"]])  # stable: the order inside a picture stays

    categories = {entry["category_id"]: str(entry["category_id"]) for entry in objects}
    categories |= {c["id"]: c["name"] for c in content.get("categories", [])}
    label_of = {category: label for label, category in enumerate(sorted(categories))}
    counts = np.bincount([row_of[entry["image_id"]] for entry in objects], minlength=len(images))
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


def _checked(entries: list, keys: tuple[str, ...], path: Path, kind: str) -> list[dict]:
    """The entries, known to have their keys and usable ids."""
    seen: set[int] = set()
    largest = 2**31 if kind == "image" else 2**63  # a batch holds image ids as int32
    for place, entry in enumerate(entries):
        missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise UserError(f"{path}: {kind} number {place} lacks {missing[0]!r}; every {kind} needs {', '.join(keys)}")
        if not isinstance(entry["id"], int) or not 0 <= entry["id"] < largest or entry["id"] in seen:
            raise UserError(
                f"{path}: {kind} number {place} has the id {entry['id']!r}; ids must be integers from 0 to "
                f"{largest - 1}, each used once"
            )
        seen.add(entry["id"])
    return list(entries)


def _check_object(entry: dict, row_of: dict[int, int], skeleton: Skeleton, path: Path) -> None:
    where = f"{path}: annotation {entry['id']}"
    if entry["image_id"] not in row_of:
        raise UserError(f"{where} belongs to image {entry['image_id']!r}, which the file does not list")
    if not _is_numbers(entry["bbox"], 4):
        raise UserError(f"{where}: bbox must be four finite numbers x, y, w, h")
    if not _is_numbers(entry["keypoints"], 3 * skeleton.num_keypoints):
        raise UserError(
            f"{where}: keypoints must be {3 * skeleton.num_keypoints} finite numbers: x, y, visibility of each joint "
            f"of the skeleton {skeleton.name!r}"
        )


def _is_numbers(values: object, count: int) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(isinstance(v, (int, float)) for v in values) and bool(np.isfinite(values).all())


def _is_degenerate(segmentation: object) -> bool:
    """Official: polygons are given and none has three points (a run-length code is kept)."""
    if not isinstance(segmentation, list) or not segmentation:
        return False
    return not any(len(polygon) % 2 == 0 and len(polygon) >= 6 for polygon in segmentation)
