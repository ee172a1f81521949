"""COCO keypoints as a TFDS builder, from the standard directory layout:

    <root>/train2017/*.jpg   <root>/val2017/*.jpg   <root>/annotations/person_keypoints_{train,val}2017.json

Records are sorted by image id. The training split keeps the pictures that have something to train on (official:
anything but a crowd; people without labelled joints count); the validation split keeps all.
Every picture is decoded once here, so that a broken one is found before training and not at step 90,000.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from input_pipeline import schema
from input_pipeline.annotations import Annotations, select_pictures, targets_per_picture
from input_pipeline.coco_file import read_annotation_file
from querypose_jax.errors import UserError
from querypose_jax.pictures import PictureError, read_picture
from querypose_jax.skeletons import Skeleton

CHUNK = 64  # pictures verified at a time
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
    """Changes with any byte of the annotation file, and with the format of what is prepared from it."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(f"{split} {skeleton.name} {schema.FORMAT_VERSION}".encode())
    return digest.hexdigest()[:12]


def split_annotations(path: Path, split: str, skeleton: Skeleton) -> Annotations:
    """The index of the records of a split."""
    annotations = read_annotation_file(path, skeleton)
    if split == "train":
        annotations = select_pictures(annotations, np.flatnonzero(targets_per_picture(annotations)))
    return annotations
