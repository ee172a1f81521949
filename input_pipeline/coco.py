"""COCO keypoints as a TFDS builder, from the standard directory layout:

    <root>/train2017/*.jpg   <root>/val2017/*.jpg   <root>/annotations/person_keypoints_{train,val}2017.json

Records are sorted by image id. The training split keeps the pictures that have something to train on (official:
anything but a crowd; people without labelled joints count); the validation split keeps all.
Every picture is decoded once here, so that a broken one is found before training and not at step 90,000.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from input_pipeline import schema
from input_pipeline.annotations import Annotations, select_pictures, targets_per_picture
from querypose_jax.errors import UserError
from querypose_jax.pictures import PictureError, read_picture
from querypose_jax.skeletons import Skeleton

CHUNK = 64  # pictures verified at a time
IMAGE_KEYS = ("id", "file_name", "height", "width")
OBJECT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "keypoints", "num_keypoints")
HOW_TO_GET = "COCO 2017 is at https://cocodataset.org/#download; unpack pictures and annotations under data.root"


class CocoKeypoints(tfds.core.GeneratorBasedBuilder):
    """One split of a data set in COCO form."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, annotations: Annotations, pictures: Path, split: str, workers: int = 8, **kwargs):
        """
        Args:
            annotations: index of the split, one record per row.
            pictures: folder of the picture files.
            split: name of the split.
            workers: threads that read and verify pictures.
        """
        self.annotations, self.pictures, self.split, self.workers = annotations, pictures, split, workers
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = schema.features(self.annotations.keypoints.shape[1])
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True, description=__doc__)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {self.split: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        rows = range(self.annotations.num_pictures)
        progress = tqdm(total=len(rows), desc=f"preparing {self.pictures.name}", unit=" pictures", mininterval=1)
        with ThreadPoolExecutor(self.workers) as pool, progress:
            for first in rows[::CHUNK]:
                chunk = rows[first : first + CHUNK]
                for row, picture in zip(chunk, pool.map(self._verified, chunk), strict=True):
                    yield row, schema.example(self.annotations, row, picture)
                    progress.update()

    def _verified(self, row: int) -> bytes:
        name, size = str(self.annotations.file_name[row]), self.annotations.size[row].tolist()
        return verified_picture(self.pictures / name, *size)


def verified_picture(path: Path, height: int, width: int) -> bytes:
    """The bytes of a picture file that decodes and has the size the annotation file says.

    Raises:
        PictureError: it is missing, broken or of another size; the message names the file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror or error}; the annotation file lists it. {HOW_TO_GET}") from None
    found = read_picture(content, name=str(path)).size
    if found != (width, height):
        found_h, found_w = found[::-1]
        raise PictureError(
            f"{path}: is {found_h} x {found_w} pixels (h x w, EXIF orientation applied), the annotation file says "
            f"{height} x {width}; correct one of them"
        )
    return content


def annotation_file(root: Path, split: str) -> Path:
    """Path of the annotation file of a split.

    Raises:
        UserError: it is not there; the message names it and says how to get it.
    """
    path = root / "annotations" / f"person_keypoints_{split}2017.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file (data.root is {str(root)!r}). {HOW_TO_GET}")
    return path


def pictures_folder(root: Path, split: str) -> Path:
    """Folder of the pictures of a split; raises UserError when it is not there."""
    path = root / f"{split}2017"
    if not path.is_dir():
        raise UserError(f"{path}: no such folder (data.root is {str(root)!r}). {HOW_TO_GET}")
    return path


def data_key(path: Path, split: str, skeleton: Skeleton) -> str:
    """Changes with any byte of the annotation file."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(f"{split} {skeleton.name}".encode())
    return digest.hexdigest()[:12]


def split_annotations(path: Path, split: str, skeleton: Skeleton) -> Annotations:
    """The index of the records of a split."""
    annotations = read_annotation_file(path, skeleton)
    if split == "train":
        annotations = select_pictures(annotations, np.flatnonzero(targets_per_picture(annotations)))
    return annotations


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
