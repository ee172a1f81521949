"""Synthetic people as a TFDS builder: pictures drawn by `people.py`, stored like any other data set."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from input_pipeline import people, schema
from input_pipeline.annotations import Annotations
from querypose_jax.skeletons import COCO

SPLITS = ("train", "val")
JPEG_QUALITY = 92


class SyntheticPeople(tfds.core.GeneratorBasedBuilder):
    """One split of drawn pictures; `settings` is the group config.data.synthetic."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, settings: ConfigDict, split: str, **kwargs):
        self.settings, self.split = settings, split
        self.drawings: list[people.Drawing] = []
        self.skipped = ()  # drawings can always be used
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, features=schema.features(COCO.num_keypoints), disable_shuffling=True, description=__doc__
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {self.split: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        indices = range(num_pictures(self.settings, self.split))
        for index in tqdm(indices, desc=f"drawing synthetic people, {self.split}", unit=" pictures", mininterval=1):
            drawing = draw(self.settings, self.split, index)
            self.drawings.append(drawing)
            yield index, schema.example(index_of([drawing], index), 0, encode(drawing.image))

    @property
    def annotations(self) -> Annotations:
        """The index of what was generated."""
        return index_of(self.drawings)


def num_pictures(settings: ConfigDict, split: str) -> int:
    return {"train": settings.train_pictures, "val": settings.val_pictures}[split]


def draw(settings: ConfigDict, split: str, index: int) -> people.Drawing:
    return people.draw_people(settings.seed, split, index, settings.height, settings.width, settings.max_people)


def encode(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def data_key(settings: ConfigDict, split: str) -> str:
    """Changes with the settings, with the code that draws and indexes, and with the format of what is prepared."""
    code = b"".join(Path(path).read_bytes() for path in (people.__file__, __file__))
    described = json.dumps([settings.to_dict(), split, JPEG_QUALITY, schema.FORMAT_VERSION], sort_keys=True).encode()
    return hashlib.sha256(described + code).hexdigest()[:12]


def index_of(drawings: list[people.Drawing], first_id: int = 0) -> Annotations:
    """The annotation index of drawings whose picture ids count from first_id."""
    counts = np.array([len(drawing.boxes) for drawing in drawings])
    boxes = np.concatenate([drawing.boxes for drawing in drawings])
    keypoints = np.concatenate([drawing.keypoints for drawing in drawings])
    sides = boxes[:, 2:] - boxes[:, :2]
    image_id = first_id + np.arange(len(drawings))
    return Annotations(
        image_id=image_id,
        file_name=np.array([f"{i:06d}.jpg" for i in image_id]),
        size=np.array([drawing.image.shape[:2] for drawing in drawings], np.int32),
        start=np.concatenate([[0], np.cumsum(counts)]),
        object_id=1 + np.arange(len(boxes)),
        bbox=np.concatenate([boxes[:, :2], sides], -1),
        area=people.AREA_OF_BOX * sides.prod(-1),
        is_crowd=np.zeros(len(boxes), bool),
        has_area=np.ones(len(boxes), bool),
        is_degenerate=np.zeros(len(boxes), bool),
        is_segmented=np.zeros(len(boxes), bool),
        category_id=np.ones(len(boxes), np.int32),
        label=np.zeros(len(boxes), np.int32),
        keypoints=keypoints,
        num_keypoints=(keypoints[..., 2] > 0).sum(-1).astype(np.int32),
        category_names=np.array(["person"]),
        category_ids=np.array([1], np.int32),
    )
