"""Annotation files in COCO form -> the annotation index, with every surprise named."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from input_pipeline.annotations import Annotations
from querypose_jax.errors import UserError
from querypose_jax.pictures import LARGEST_PICTURE
from querypose_jax.recipes.recipe import AREA_OF_BOX
from querypose_jax.skeletons import Skeleton

IMAGE_KEYS = ("id", "file_name", "height", "width")
OBJECT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "keypoints", "num_keypoints")
DEFAULTS: dict[str, Callable[[dict], float]] = {  # what an annotation may lack, from what it has
    "area": lambda entry: AREA_OF_BOX * entry["bbox"][2] * entry["bbox"][3] if _is_numbers(entry["bbox"], 4) else 0.0,
    "iscrowd": lambda entry: 0,
    "num_keypoints": lambda entry: _labelled(entry["keypoints"]),
}
LARGEST_ID = {"image": 2**31 - 1, "annotation": 2**63 - 1}  # a batch holds image ids as int32
LARGEST_NUMBER = 1e9  # of a coordinate or an area: their products and sums stay finite in float32
LARGEST_CROWD = 1000  # annotations of a picture; the most crowded public pictures have about 400 people
LONGEST_NAME = 1024  # characters of a file name: the index gives every name the room of the longest


class Problem(NamedTuple):
    """An entry that cannot be used."""

    kind: str
    """image | annotation, the list it is in."""
    place: int
    """Its place in that list."""
    message: str
    is_number: bool = False
    """Only a coordinate or an area that is NaN, infinite or absurd: training can do without this annotation."""


def read_json(path: Path, is_labelled: bool = True) -> dict:
    """The content of a file that has the lists of a file in COCO form; annotations are not wanted where not labelled.

    Raises:
        UserError: no JSON, or something else than COCO's.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, lists in lists without end
        raise UserError(f"{path}: is not JSON ({short(error)}); download or export it again") from None
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
        content["annotations"] = [e for e in content["annotations"] if not _is_of(e, unwanted)]
    for entry in content["annotations"]:
        if isinstance(entry, dict) and {"bbox", "keypoints"} <= entry.keys():
            entry["has_area"] = "area" in entry
            entry |= {key: DEFAULTS[key](entry) for key in may_lack if key not in entry}
    return content


def find_problems(content: dict, skeleton: Skeleton) -> Iterator[Problem]:
    """Everything that keeps a file from being read, entry by entry."""
    known: dict[str, set[int]] = {"image": set(), "annotation": set()}
    crowd: Counter[int] = Counter()
    categories = {category["id"] for category in content.get("categories", [])}
    for kind, keys in (("image", IMAGE_KEYS), ("annotation", OBJECT_KEYS)):
        for place, entry in enumerate(content[f"{kind}s"]):
            message, is_number = _key_problem(entry, keys, known[kind], LARGEST_ID[kind]), False
            if not message:
                known[kind].add(entry["id"])
                is_image = kind == "image"
                message = _image_problem(entry) if is_image else _object_problem(entry, known["image"], skeleton)
                if not is_image and not message and categories and entry["category_id"] not in categories:
                    listed = ", ".join(map(str, sorted(categories)[:20]))
                    message = f" (id {entry['id']}) is of category {short(entry['category_id'])}, the file has {listed}"
                if not is_image and not message:
                    crowd[entry["image_id"]] += 1
                    if crowd[entry["image_id"]] > LARGEST_CROWD:
                        message = f" (id {entry['id']}) is beyond the {LARGEST_CROWD} that a picture may have"
                if not is_image and not message:
                    message = _number_problem(entry, skeleton)
                    is_number = bool(message)
            if message:
                yield Problem(kind, place, f"{kind} number {place}{message}", is_number)


def _key_problem(entry: object, keys: tuple[str, ...], known: set[int], largest: int) -> str:
    missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
    if missing:
        return f" lacks {missing[0]!r} (wanted are {', '.join(keys)})"
    if not isinstance(entry["id"], int) or not 0 <= entry["id"] <= largest or entry["id"] in known:
        return f" has the id {short(entry['id'])}; ids must be integers from 0 to {largest}, each used once"
    return ""


def _image_problem(image: dict) -> str:
    sides = image["height"], image["width"]
    is_good = all(isinstance(side, int) and side > 0 for side in sides) and isinstance(image["file_name"], str)
    if not is_good:
        return f" (id {image['id']}) needs a file name and a height and width of whole pixels"
    if math.prod(sides) > LARGEST_PICTURE:
        return f" (id {image['id']}) has more than {LARGEST_PICTURE:,} pixels"
    if not is_inside(image["file_name"]):
        return f" (id {image['id']}): file name {short(image['file_name'])} must be a path inside of the picture folder"
    if "crowdIndex" in image and not _is_numbers([image["crowdIndex"]], 1):
        return f" (id {image['id']}): crowdIndex must be a number"
    return ""


def _object_problem(entry: dict, images: set[int], skeleton: Skeleton) -> str:
    """What is wrong with the form of an annotation; that its coordinates are finite is another matter."""
    if not isinstance(entry["image_id"], int) or entry["image_id"] not in images:
        return f" (id {entry['id']}) belongs to image {short(entry['image_id'])}, which the file does not list"
    if not _is_listed(entry["bbox"], 4):
        return _wanted_box(entry)
    if not _is_listed(entry["keypoints"], 3 * skeleton.num_keypoints):
        return _wanted_keypoints(entry, skeleton)
    whole = [entry["num_keypoints"], entry["iscrowd"], entry["category_id"]]
    if not _is_listed([entry["area"]], 1) or not _is_numbers(whole, 3):
        return f" (id {entry['id']}): area, num_keypoints, iscrowd and category_id must be numbers"
    if not 0 <= entry["num_keypoints"] <= skeleton.num_keypoints:
        return f" (id {entry['id']}): num_keypoints is {entry['num_keypoints']}, not 0 to {skeleton.num_keypoints}"
    return ""


def _number_problem(entry: dict, skeleton: Skeleton) -> str:
    if not _is_numbers(entry["bbox"], 4):
        return _wanted_box(entry)
    if not _is_numbers(entry["keypoints"], None):
        return _wanted_keypoints(entry, skeleton)
    return "" if _is_numbers([entry["area"]], 1) else f" (id {entry['id']}): area must be a finite number"


def _wanted_box(entry: dict) -> str:
    return f" (id {entry['id']}): bbox must be four finite numbers x, y, w, h"


def _wanted_keypoints(entry: dict, skeleton: Skeleton) -> str:
    wanted = f"{3 * skeleton.num_keypoints} finite numbers, x, y, visibility of each joint of {skeleton.name!r}"
    return f" (id {entry['id']}): keypoints must be {wanted}"


def is_inside(name: str) -> bool:
    """True for the name of a file that is printable and cannot leave the folder it is relative to."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        return False
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    return not any(path.is_absolute() or path.drive or path.root or ".." in path.parts for path in kinds)


def short(value: object) -> str:
    """A value, or what an error says, in at most 80 printable characters of one line."""
    text = " ".join((str(value) if isinstance(value, Exception) else repr(value)).split())
    return text if len(text) <= 80 else text[:77] + "..."


def index_of_content(
    content: dict, skeleton: Skeleton, wanted: tuple[str, ...] = (), judges_polygons: bool = True
) -> Annotations:
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
    degenerate = np.array([judges_polygons and _is_degenerate(entry.get("segmentation")) for entry in objects], bool)

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
        has_area=np.array([entry.get("has_area", True) for entry in objects], bool),
        is_crowd=crowd,
        is_degenerate=degenerate,
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
    number = category.get("id")
    return isinstance(number, int) and abs(number) <= LARGEST_NUMBER and isinstance(category.get("name"), str)


def _is_of(entry: object, categories: set[int]) -> bool:
    """An annotation of one of the categories."""
    number = entry.get("category_id") if isinstance(entry, dict) else None
    return isinstance(number, int | float) and number in categories


def _labelled(keypoints: object) -> int:
    """How many of x, y, visibility, x, y, ... are labelled; 0 where they are no such numbers."""
    return sum(v > 0 for v in keypoints[2::3]) if _is_numbers(keypoints, None) else 0


def _is_listed(values: object, count: int | None) -> bool:
    """A list of `count` (None: any number of) numbers, which may be NaN or infinite."""
    if not isinstance(values, list) or (count is not None and len(values) != count):
        return False
    return all(isinstance(v, int | float) for v in values)


def _is_numbers(values: object, count: int | None) -> bool:
    """A list of `count` (None: any number of) numbers up to LARGEST_NUMBER (NaN is not)."""
    return isinstance(values, list) and _is_listed(values, count) and all(abs(v) <= LARGEST_NUMBER for v in values)


def _is_degenerate(segmentation: object) -> bool:
    """Official: polygons are given and none has three points (a run-length code is kept)."""
    if not isinstance(segmentation, list) or not segmentation:
        return False
    polygons = [polygon for polygon in segmentation if isinstance(polygon, list)]
    return not any(len(polygon) % 2 == 0 and len(polygon) >= 6 for polygon in polygons)
