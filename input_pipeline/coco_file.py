"""Annotation files in COCO form -> the annotation index, with every surprise named."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from input_pipeline.annotations import Annotations
from querypose_jax.errors import UserError
from querypose_jax.skeletons import Skeleton

IMAGE_KEYS = ("id", "file_name", "height", "width")
OBJECT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "keypoints", "num_keypoints")
AREA_OF_BOX = 0.53  # segment area of a person relative to the box, where nobody drew a segment (CrowdPose)
DEFAULTS: dict[str, Callable[[dict], float]] = {  # what an annotation may lack, from what it has
    "area": lambda entry: AREA_OF_BOX * entry["bbox"][2] * entry["bbox"][3] if _is_numbers(entry["bbox"], 4) else 0.0,
    "iscrowd": lambda entry: 0,
    "num_keypoints": lambda entry: _labelled(entry["keypoints"]),
}
LARGEST_ID = {"image": 2**31 - 1, "annotation": 2**63 - 1}  # a batch holds image ids as int32


class Problem(NamedTuple):
    """An entry that cannot be used."""

    kind: str
    """image | annotation, the list it is in."""
    place: int
    """Its place in that list."""
    message: str


def read_json(path: Path, is_labelled: bool = True) -> dict:
    """The content of a file that has the lists of a file in COCO form; annotations are not wanted where not labelled.

    Raises:
        UserError: no JSON, or something else than COCO's.
    """
    try:
        content = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not JSON ({error}); download or export it again") from None
    if isinstance(content, dict) and not is_labelled:
        content["annotations"] = []
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise UserError(f"{path}: has no lists 'images' and 'annotations'; a file in COCO form is wanted")
    return content


def prepared_content(content: dict, path: Path, categories: tuple[str, ...], may_lack: tuple[str, ...]) -> dict:
    """Fills in what annotations may lack (in place) and leaves out those of categories that are not wanted.

    Args:
        content: from read_json.
        path: of the file, for messages.
        categories: names of the wanted ones; (): all.
        may_lack: keys of DEFAULTS.

    Raises:
        UserError: the file's list of categories is none, or a wanted category is not in it.
    """
    listed = content.get("categories", [])
    if not isinstance(listed, list) or not all(isinstance(c, dict) and _is_category(c) for c in listed):
        raise UserError(f"{path}: 'categories' must be a list of entries with an id (an integer) and a name")
    names = {category["name"]: category["id"] for category in listed}
    for category in categories:
        if category not in names:
            raise UserError(f"{path}: has no category {category!r}; it has {', '.join(map(str, names)) or 'none'}")
    if categories:
        unwanted = {category["id"] for category in listed} - {names[category] for category in categories}
        content["annotations"] = [e for e in content["annotations"] if _category_of(e) not in unwanted]
    for entry in content["annotations"]:
        if isinstance(entry, dict) and {"bbox", "keypoints"} <= entry.keys():
            entry |= {key: DEFAULTS[key](entry) for key in may_lack if key not in entry}
    return content


def find_problems(content: dict, skeleton: Skeleton) -> Iterator[Problem]:
    """Everything that keeps a file from being read, entry by entry."""
    known: dict[str, set[int]] = {"image": set(), "annotation": set()}
    categories = {category["id"] for category in content.get("categories", [])}
    for kind, keys in (("image", IMAGE_KEYS), ("annotation", OBJECT_KEYS)):
        for place, entry in enumerate(content[f"{kind}s"]):
            message = _key_problem(entry, keys, known[kind], LARGEST_ID[kind])
            if not message:
                known[kind].add(entry["id"])
                is_image = kind == "image"
                message = _image_problem(entry) if is_image else _object_problem(entry, known["image"], skeleton)
                if not is_image and not message and categories and entry["category_id"] not in categories:
                    listed = ", ".join(map(str, sorted(categories)))
                    message = f" (id {entry['id']}) is of category {entry['category_id']!r}, the file has {listed}"
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
    if not is_good:
        return f" (id {image['id']}) needs a file name and a height and width of whole pixels"
    if "crowdIndex" in image and not _is_numbers([image["crowdIndex"]], 1):
        return f" (id {image['id']}): crowdIndex must be a number"
    return ""


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
    if not 0 <= entry["num_keypoints"] <= skeleton.num_keypoints:
        return f" (id {entry['id']}): num_keypoints is {entry['num_keypoints']}, not 0 to {skeleton.num_keypoints}"
    return ""


def index_of_content(content: dict, skeleton: Skeleton, wanted: tuple[str, ...] = ()) -> Annotations:
    """The annotation index of a file without problems.

    Pictures are sorted by id, the objects of a picture stay in the order of the file. Labels count the `wanted`
    categories, by default those of the file by id.
    """
    images = sorted(content["images"], key=lambda image: image["id"])
    row_of = {image["id"]: row for row, image in enumerate(images)}
    objects = sorted(
        content["annotations"], key=lambda entry: row_of[entry["image_id"]]
    )  # order inside a picture stays
    categories = {entry["category_id"]: str(entry["category_id"]) for entry in objects}
    categories |= {c["id"]: c["name"] for c in content.get("categories", []) if {"id", "name"} <= c.keys()}
    ids = {name: category for category, name in categories.items()}
    order = [ids[name] for name in wanted] or sorted(categories)
    label_of = {category: label for label, category in enumerate(order)}
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
        crowd_index=_crowd_index(images),
    )


def _crowd_index(images: list[dict]) -> np.ndarray | None:
    if not any("crowdIndex" in image for image in images):
        return None
    return np.array([image.get("crowdIndex", np.nan) for image in images], np.float64)


def _is_category(category: dict) -> bool:
    return isinstance(category.get("id"), int) and isinstance(category.get("name"), str)


def _category_of(entry: object) -> object:
    return entry.get("category_id") if isinstance(entry, dict) else None


def _labelled(keypoints: object) -> int:
    """How many of x, y, visibility, x, y, ... are labelled; 0 where they are no such numbers."""
    return sum(v > 0 for v in keypoints[2::3]) if _is_numbers(keypoints, None) else 0


def _is_numbers(values: object, count: int | None) -> bool:
    """A list of `count` (None: any number of) finite numbers."""
    if not isinstance(values, list) or (count is not None and len(values) != count):
        return False
    return all(isinstance(v, int | float) for v in values) and bool(np.isfinite(values).all())


def _is_degenerate(segmentation: object) -> bool:
    """Official: polygons are given and none has three points (a run-length code is kept)."""
    if not isinstance(segmentation, list) or not segmentation:
        return False
    return not any(len(polygon) % 2 == 0 and len(polygon) >= 6 for polygon in segmentation)
