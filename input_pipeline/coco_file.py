"""Annotation files in COCO form -> the annotation index, with every surprise named."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from input_pipeline.annotations import Annotations
from input_pipeline.categories import check_categories, is_of, join_categories, joint_order_problem
from input_pipeline.picture_names import is_inside, settle_names
from input_pipeline.segments import is_segmentation
from querypose_jax.errors import UserError, one_line
from querypose_jax.pictures import LARGEST_PICTURE
from querypose_jax.recipes.recipe import AREA_OF_BOX
from querypose_jax.skeletons import Skeleton

IMAGE_KEYS = ("id", "file_name", "height", "width")
OBJECT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "keypoints", "num_keypoints")
DEFAULTS: dict[str, Callable[[dict, Skeleton], object]] = {  # what an annotation may lack, from what it has
    "keypoints": lambda entry, skeleton: [0.0] * 3 * skeleton.num_keypoints,  # a box without joints
    "area": lambda entry, skeleton: _area_of_box(entry.get("bbox")),
    "iscrowd": lambda entry, skeleton: 0,
    "num_keypoints": lambda entry, skeleton: _labelled(entry.get("keypoints")),
}
LARGEST_ID = {"image": 2**31 - 1, "annotation": 2**63 - 1}  # a batch holds image ids as int32
LARGEST_NUMBER = 1e9  # of a coordinate or an area: their products and sums stay finite in float32
LARGEST_CROWD = 1000  # annotations of a picture; the most crowded public pictures have about 400 people


class Content(NamedTuple):
    """What the annotation files of a split hold, as it is looked at entry by entry."""

    lists: dict
    """images, annotations, categories."""
    said: list[str]
    """Lines on what was read otherwise than it is written."""
    refused: list[str]
    """Lines on what keeps the whole file from being used, though its entries can be looked at."""


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


def prepared_content(
    content: dict,
    path: Path,
    pictures: Path,
    skeleton: Skeleton,
    categories: tuple[str, ...],
    may_lack: tuple[str, ...],
) -> Content:
    """Joins classes of one name, leaves out annotations of unwanted ones, settles file names, fills in what
    annotations may lack; all in place.

    Args:
        content: from read_json.
        path: of the file, for messages.
        pictures: folder of its pictures.
        skeleton: of the annotations.
        categories: names of the wanted ones; (): all.
        may_lack: keys of DEFAULTS; null is lacking too, and so are no `keypoints` at all.

    Raises:
        UserError: the file's list of categories is none, or a wanted category is not in it.
    """
    listed = content.setdefault("categories", [])
    check_categories(listed, path)
    names = dict.fromkeys(category["name"] for category in listed)
    for category in categories:
        if category not in names:
            raise UserError(f"{path}: has no category {category!r}; it has {', '.join(map(str, names)) or 'none'}")
    unwanted = {category["id"] for category in listed if categories and category["name"] not in categories}
    content["annotations"] = [e for e in content["annotations"] if not is_of(e, unwanted)]
    refused = joint_order_problem([c for c in listed if c["id"] not in unwanted], skeleton)
    said = join_categories(content) + settle_names(content["images"], pictures)
    for entry in content["annotations"]:
        if isinstance(entry, dict):
            fill_in(entry, may_lack, skeleton)
    return Content(content, said, [refused] if refused else [])


def fill_in(entry: dict, may_lack: tuple[str, ...], skeleton: Skeleton) -> None:
    """What an annotation may lack, from what it has (in place)."""
    entry["has_area"] = entry.get("area") is not None
    for key, default in DEFAULTS.items():
        if key in may_lack and (entry.get(key) is None or (key == "keypoints" and entry[key] == [])):
            entry[key] = default(entry, skeleton)
        if key == "keypoints":
            _clear_unlabelled(entry.get(key))


def find_problems(content: dict, skeleton: Skeleton) -> Iterator[Problem]:
    """Everything that keeps a file from being read, entry by entry; `content` are the lists of `prepared_content`."""
    known: dict[str, set[int]] = {"image": set(), "annotation": set()}
    crowd: Counter[int] = Counter()
    categories = {category["id"] for category in content["categories"]}
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
        return (
            f" (id {image['id']}): file name {short(image['file_name'])} must be a path inside of the picture folder, "
            "or end like exactly one file there"
        )
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


def short(value: object) -> str:
    """A value, or what an error says, in at most 80 printable characters of one line."""
    return one_line(value if isinstance(value, Exception) else repr(value))


def index_of_content(
    content: dict, skeleton: Skeleton, wanted: tuple[str, ...] = (), judges_polygons: bool = True
) -> Annotations:
    """The annotation index of the lists of a file without problems, from `prepared_content`.

    Pictures are sorted by id, the objects of a picture stay in the order of the file. Labels count the `wanted`
    categories, by default those of the file by id.
    """
    images = sorted(content["images"], key=lambda image: image["id"])
    row_of = {image["id"]: row for row, image in enumerate(images)}
    objects = sorted(
        content["annotations"], key=lambda entry: row_of[entry["image_id"]]
    )  # order inside a picture stays
    categories = {entry["category_id"]: str(entry["category_id"]) for entry in objects}
    categories |= {c["id"]: c["name"] for c in content["categories"]}
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
        is_segmented=np.array([is_segmentation(entry.get("segmentation")) for entry in objects], bool),
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


def _area_of_box(box: object) -> float:
    return AREA_OF_BOX * box[2] * box[3] if isinstance(box, list) and _is_numbers(box, 4) else 0.0


def _clear_unlabelled(keypoints: object) -> None:
    """Puts 0 for coordinates of unlabelled joints that are no numbers (in place): nobody reads them."""
    if not isinstance(keypoints, list) or len(keypoints) % 3 or _is_numbers(keypoints, None):
        return
    for j in range(0, len(keypoints), 3):
        visibility = keypoints[j + 2]
        if isinstance(visibility, int | float) and visibility <= 0:
            keypoints[j : j + 2] = [v if _is_numbers([v], 1) else 0.0 for v in keypoints[j : j + 2]]


def _labelled(keypoints: object) -> int:
    """How many of x, y, visibility, x, y, ... are labelled; 0 where they are no such numbers."""
    return sum(v > 0 for v in keypoints[2::3]) if isinstance(keypoints, list) and _is_numbers(keypoints, None) else 0


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
