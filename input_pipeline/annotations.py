"""The annotation index of a split: everything but the pixels, as flat numpy arrays.

Row i of the index is record i of the prepared data set. Objects (people, crowds) of all pictures lie one after the
other; picture i owns objects start[i] to start[i + 1]. The index is a small npz beside the records, so that a host can
plan every step and a scorer can rebuild the ground truth without opening one picture.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from querypose_jax.errors import UserError
from querypose_jax.recipes.recipe import People
from querypose_jax.skeletons import Skeleton


@dataclass(frozen=True)
class Annotations:
    """P pictures and O objects. Coordinates are as in a COCO file (see `keypoints`), in original pixels."""

    image_id: np.ndarray
    """int64 [P], ascending."""
    file_name: np.ndarray
    """str [P]"""
    size: np.ndarray
    """int32 [P, 2], h, w."""
    start: np.ndarray
    """int64 [P + 1]"""
    object_id: np.ndarray
    """int64 [O], the annotation's id."""
    bbox: np.ndarray
    """float64 [O, 4], x, y, w, h."""
    area: np.ndarray
    """float64 [O], segment area; worked out from the box where the file has none."""
    has_area: np.ndarray
    """bool [O], the file has one."""
    is_crowd: np.ndarray
    """bool [O]"""
    is_degenerate: np.ndarray
    """bool [O], polygons were drawn and none has three points; False where a data set does not judge by polygons."""
    is_segmented: np.ndarray
    """bool [O], the file has a segmentation, which the record keeps."""
    category_id: np.ndarray
    """int32 [O], as in the file."""
    label: np.ndarray
    """int32 [O], class index from 0."""
    keypoints: np.ndarray
    """float64 [O, K, 3], pixel index (continuous coordinate - 0.5) and visibility 0, 1, 2."""
    num_keypoints: np.ndarray
    """int32 [O], as in the file: it decides what scoring ignores and need not count all labelled joints."""
    category_names: np.ndarray
    """str [classes], name of each label."""
    category_ids: np.ndarray
    """int32 [classes], id of each label in the file."""
    crowd_index: np.ndarray | None = None
    """float64 [P], how crowded a picture is (CrowdPose's crowdIndex, NaN where it has none); None: none has one."""

    @property
    def num_pictures(self) -> int:
        return len(self.image_id)

    @property
    def picture_of_object(self) -> np.ndarray:
        """int64 [O], the row of the picture that owns each object."""
        return np.repeat(np.arange(self.num_pictures), np.diff(self.start))


def objects_of(annotations: Annotations, row: int) -> slice:
    """The objects of one picture."""
    return slice(int(annotations.start[row]), int(annotations.start[row + 1]))


def count_per_picture(annotations: Annotations, chosen: np.ndarray) -> np.ndarray:
    """int64 [P]: how many of the `chosen` objects (bool [O]) each picture has."""
    return np.bincount(annotations.picture_of_object[chosen], minlength=annotations.num_pictures)


def objects_at(annotations: Annotations, objects: np.ndarray) -> People:
    """Some objects (int [T]) as a recipe takes them."""
    x, y, w, h = annotations.bbox[objects].T
    area = np.where(annotations.has_area[objects], annotations.area[objects], np.nan)
    return People(np.stack([x, y, x + w, y + h], -1), annotations.keypoints[objects], area, objects)


def facts_of_picture(annotations: Annotations, row: int) -> list[dict[str, Any]]:
    """iscrowd, num_keypoints and, where the file has one, area of each object of a picture, as in the file."""
    o = objects_of(annotations, row)
    columns = (annotations.is_crowd[o], annotations.num_keypoints[o], annotations.area[o], annotations.has_area[o])
    return [
        {"iscrowd": is_crowd, "num_keypoints": count, **({"area": area} if has_area else {})}
        for is_crowd, count, area, has_area in zip(*(column.tolist() for column in columns), strict=True)
    ]


def labelled_centres(annotations: Annotations, chosen: np.ndarray) -> np.ndarray:
    """int64 [P, 2]: x, y of the middle of all labelled joints of the `chosen` objects (bool [O]) of each picture, in
    whole pixels, rounded down; that of the picture where there are none."""
    count = annotations.num_pictures
    joints = annotations.keypoints[chosen]
    owner = np.repeat(annotations.picture_of_object[chosen], joints.shape[1])
    labelled = joints[..., 2].ravel() > 0
    xy, owner = joints[..., :2].reshape(-1, 2)[labelled], owner[labelled]
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, owner, xy)
    np.maximum.at(high, owner, xy)
    has_joints = np.isfinite(low).all(-1)
    middle = annotations.size[:, ::-1] // 2
    middle[has_joints] = (low[has_joints] + high[has_joints]) // 2
    return middle.astype(np.int64)


def select_pictures(annotations: Annotations, rows: np.ndarray) -> Annotations:
    """The index of some pictures only, in the given order, with all their objects."""
    slices = [np.arange(annotations.start[row], annotations.start[row + 1]) for row in rows]
    objects = np.concatenate([*slices, np.zeros(0, np.int64)]).astype(np.int64)
    crowd_index = annotations.crowd_index
    per_picture = {name: getattr(annotations, name)[rows] for name in ("image_id", "file_name", "size")}
    per_picture["crowd_index"] = None if crowd_index is None else crowd_index[rows]
    per_object = {
        field.name: getattr(annotations, field.name)[objects]
        for field in dataclasses.fields(annotations)
        if field.name not in (*per_picture, "start", "category_names", "category_ids")
    }
    start = np.concatenate([[0], np.cumsum([len(s) for s in slices])]).astype(np.int64)
    return dataclasses.replace(annotations, start=start, **per_picture, **per_object)


def with_classes(annotations: Annotations, names: Sequence[str]) -> Annotations:
    """The same index with the labels that `names` gives the classes, whatever their order in the file.

    Raises:
        UserError: it has other classes.
    """
    theirs = annotations.category_names.tolist()
    if sorted(theirs) != sorted(names):
        raise UserError(
            f"the annotation file has the classes {', '.join(theirs)}, the model is trained on {', '.join(names)}; "
            "name them alike, or those wanted in config.data.custom.categories"
        )
    place = [theirs.index(name) for name in names]  # of each label, among the old ones
    label_of = np.argsort(place).astype(np.int32)
    return dataclasses.replace(
        annotations,
        label=label_of[annotations.label],
        category_names=annotations.category_names[place],
        category_ids=annotations.category_ids[place],
    )


def pictures_with_largest_people(annotations: Annotations, is_target: np.ndarray, count: int) -> np.ndarray:
    """Rows [count], ascending, of the pictures whose largest target with labelled joints fills most of the picture."""
    owners = annotations.picture_of_object
    share = annotations.bbox[:, 2:].prod(-1) / annotations.size[owners].prod(-1)
    largest = np.zeros(annotations.num_pictures)
    np.maximum.at(largest, owners, share * (is_target & (annotations.num_keypoints > 0)))
    return np.sort(np.argsort(-largest, kind="stable")[:count])


def save_annotations(annotations: Annotations, path: Path) -> None:
    """Writes the npz under a temporary name first."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        np.savez_compressed(file, **_arrays(annotations))
    os.replace(partial, path)


def load_annotations(path: Path) -> Annotations:
    """Reads what save_annotations wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Annotations(**{name: arrays[name] for name in arrays.files})


def fingerprint(annotations: Annotations) -> str:
    """16 hex digits that change with any value of the index."""
    digest = hashlib.sha256()
    for name, array in sorted(_arrays(annotations).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _arrays(annotations: Annotations) -> dict[str, np.ndarray]:
    columns = {field.name: getattr(annotations, field.name) for field in dataclasses.fields(annotations)}
    return {name: column for name, column in columns.items() if column is not None}


def ground_truth(annotations: Annotations, skeleton: Skeleton) -> dict:
    """A complete COCO-format dict for pycocotools: values as in the annotation file, crowds included.

    Segmentations are not kept: neither keypoint nor box evaluation reads them from the ground truth.
    """
    images = [
        dict(id=int(image_id), file_name=str(name), height=int(h), width=int(w))
        for image_id, name, (h, w) in zip(annotations.image_id, annotations.file_name, annotations.size, strict=True)
    ]
    if annotations.crowd_index is not None:
        for image, crowd_index in zip(images, annotations.crowd_index.tolist(), strict=True):
            image |= {} if np.isnan(crowd_index) else {"crowdIndex": crowd_index}
    categories = [
        dict(
            id=int(category_id),
            name=str(name),
            keypoints=list(skeleton.names),
            skeleton=[[a + 1, b + 1] for a, b in skeleton.edges],  # COCO counts joints from 1 here
        )
        for category_id, name in zip(annotations.category_ids, annotations.category_names, strict=True)
    ]
    owners = annotations.image_id[annotations.picture_of_object]
    objects = [
        dict(
            id=int(annotations.object_id[o]),
            image_id=int(owners[o]),
            category_id=int(annotations.category_id[o]),
            bbox=annotations.bbox[o].tolist(),
            area=float(annotations.area[o]),
            iscrowd=int(annotations.is_crowd[o]),
            keypoints=annotations.keypoints[o].reshape(-1).tolist(),
            num_keypoints=int(annotations.num_keypoints[o]),
        )
        for o in range(len(annotations.object_id))
    ]
    return dict(info={}, licenses=[], images=images, annotations=objects, categories=categories)
