"""COCO keypoints as a TFDS builder, from the standard directory layout:

    <root>/train2017/*.jpg   <root>/val2017/*.jpg   <root>/annotations/person_keypoints_{train,val}2017.json

and, to be predicted for the COCO server, <root>/test2017/*.jpg with <root>/annotations/image_info_test-dev2017.json.
Records are sorted by image id and hold every picture with all its annotations: who and what is trained on is for the
recipe to say.
Every picture is decoded once here, so that a broken one is found before training and not at step 90,000: a training
split leaves it out and counts it, the other splits are refused (see skipping.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from tqdm import tqdm

from input_pipeline import schema
from input_pipeline.annotations import Annotations, select_pictures
from input_pipeline.skipping import OTHER_SIZE, UNREADABLE, Skipped, may_skip, refuse_too_much
from input_pipeline.split_files import SplitFiles, check_split, existing_file, existing_folder
from querypose_jax.pictures import PictureError, read_picture
from querypose_jax.skeletons import Skeleton

CHUNK = 64  # pictures verified at a time
ANNOTATION_FILES = {
    "train": "person_keypoints_train2017.json",
    "val": "person_keypoints_val2017.json",
    "test-dev": "image_info_test-dev2017.json",
}
PICTURES = {"train": "train2017", "val": "val2017", "test-dev": "test2017"}
HOW_TO_GET = "COCO 2017 is at https://cocodataset.org/#download; unpack pictures and annotations under data.root"


class CocoKeypoints(tfds.core.GeneratorBasedBuilder):
    """One split of a data set in COCO form."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        annotations: Annotations,
        pictures: Path,
        split: str,
        workers: int = 8,
        skipped: Sequence[Skipped] = (),
        segments: Mapping[int, bytes] | None = None,
        **kwargs,
    ):
        """
        Once the records are written, `annotations` holds their index and `skipped` all that was left out.

        Args:
            annotations: index of the split, one record per row whose picture can be used.
            pictures: folder of the picture files.
            split: name of the split.
            workers: threads that read and verify pictures.
            skipped: what was left out of the annotations.
            segments: run-length codes of annotations, by their ids.
        """
        self.skipped, self.segments = list(skipped), segments
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
        kept, lost = [], []
        with ThreadPoolExecutor(self.workers) as pool, progress:
            for first in rows[::CHUNK]:
                chunk = rows[first : first + CHUNK]
                for row, picture in zip(chunk, pool.map(self._verified, chunk), strict=True):
                    progress.update()
                    if isinstance(picture, bytes):
                        kept.append(row)
                        yield row, schema.example(self.annotations, row, picture, self.segments)
                    elif may_skip(self.split):
                        lost.append(Skipped(OTHER_SIZE if isinstance(picture, SizeError) else UNREADABLE, str(picture)))
                        refuse_too_much(lost, len(rows), "pictures")
                    else:
                        raise picture
        self.annotations = select_pictures(self.annotations, np.array(kept, np.int64))
        self.skipped += lost

    def _verified(self, row: int) -> bytes | PictureError:
        name, size = str(self.annotations.file_name[row]), self.annotations.size[row].tolist()
        try:
            return verified_picture(self.pictures / name, *size)
        except PictureError as error:
            return error


class SizeError(PictureError):
    """A picture of another size than the annotation file says."""


def verified_picture(path: Path, height: int, width: int) -> bytes:
    """The bytes of a picture file that decodes and has the size the annotation file says.

    Raises:
        PictureError: it is missing, broken or (SizeError) of another size; the message names the file.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise PictureError(
            f"{path}: {getattr(error, 'strerror', '') or error}; the annotation file lists it, put it there"
        ) from None
    found = read_picture(content, name=str(path)).size
    if found != (width, height):
        found_h, found_w = found[::-1]
        raise SizeError(
            f"{path}: is {found_h} x {found_w} pixels (h x w, EXIF orientation applied), the annotation file says "
            f"{height} x {width}; correct one of them"
        )
    return content


def split_files(data: ConfigDict, split: str, skeleton: Skeleton) -> SplitFiles:
    """The files of a split below data.root; raises UserError where they are not there."""
    check_split(split, ANNOTATION_FILES)
    root, is_labelled = Path(data.root), split != "test-dev"
    return SplitFiles(
        split=split,
        annotations=(existing_file([root / "annotations" / ANNOTATION_FILES[split]], HOW_TO_GET),),
        pictures=existing_folder(root / PICTURES[split], HOW_TO_GET),
        skeleton=skeleton,
        categories=() if is_labelled else ("person",),  # that file lists all categories of the detection task
        is_labelled=is_labelled,
    )
