"""Prepared data sets on disk: made once, made whole, read at random.

A folder holds the array_records of one split and the annotation index beside them. It is built under another name and
renamed when complete, so that whatever carries the final name can be trusted; a killed preparation is simply redone.
"""

import fcntl
import io
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds

from input_pipeline import skipping
from input_pipeline.annotations import Annotations, load_annotations, save_annotations

INDEX_FILE = "annotations.npz"
PICTURE, SEGMENTS = "image", "objects/segment"  # features of a record, see schema.py


def prepare(folder: Path, make_builder: Callable[[Path], tfds.core.GeneratorBasedBuilder]) -> None:
    """Builds the folder unless it is there. Several processes may call this at once: one builds, the others wait.

    Args:
        folder: final place; its name must identify the data.
        make_builder: makes the builder that writes below a given folder; has `.annotations` and `.skipped` once it has
            written.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent / ".lock"):
        if folder.is_dir():
            return
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            builder = make_builder(partial)
            tfds.disable_progress_bar()
            with redirect_stdout(io.StringIO()):  # it talks of downloads; the builders show their own progress
                builder.download_and_prepare(file_format="array_record")
            shutil.rmtree(partial / "downloads", ignore_errors=True)
            save_annotations(builder.annotations, partial / INDEX_FILE)
            skipping.save_skipped(builder.skipped, partial)
            partial.rename(folder)
            if builder.skipped:
                text = f"{folder.name}: {skipping.as_text(builder.skipped)} (listed in {folder / skipping.FILE})"
                print(text, file=sys.stderr)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def open_prepared(folder: Path) -> tuple[Annotations, Callable[[int, str], Sequence[bytes]]]:
    """The index of a prepared folder, and a thread-safe function that reads one of PICTURE and SEGMENTS of a row.

    The function takes the bytes out of the record itself: decoding all features as TFDS does costs ten times as much.
    """
    [info] = folder.glob("*/*/dataset_info.json")
    builder = tfds.builder_from_directory(info.parent)
    [split] = builder.info.splits
    records = builder.as_data_source(split).data_source

    def read(row: int, feature: str) -> Sequence[bytes]:
        return tf.train.Example.FromString(records[int(row)]).features.feature[feature].bytes_list.value

    return load_annotations(folder / INDEX_FILE), read


@contextmanager
def _lock(path: Path):
    """Released by the system when the process dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
