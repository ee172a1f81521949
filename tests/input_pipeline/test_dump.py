"""Dumped batches are the loader's batches, read without tensorflow."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest

from input_pipeline import dump, loader
from querypose_jax.errors import UserError
from querypose_jax.training import dumped


def assert_equal(found, expected):
    assert found.budget == expected.budget
    for field in dataclasses.fields(expected):
        if field.name != "budget":
            a, b = getattr(found, field.name), getattr(expected, field.name)
            assert (a is None) == (b is None) and (a is None or a.dtype == b.dtype)
            np.testing.assert_array_equal(a, b)


def test_dumped_training_batches_are_those_of_the_loader_and_start_again_after_the_last(coco, tmp_path):
    split = loader.open_split(coco, "train")
    batches = list(itertools.islice(loader.train_batches(coco, split, start_step=3, shards=2), 4))
    dump.write_dump(batches, tmp_path / "dump", coco, split, "train", first=3)
    for found, expected in zip(dumped.train_batches(tmp_path / "dump", 2), [2, 3, 0, 1], strict=False):
        assert_equal(found, batches[expected])
    assert dumped.about(tmp_path / "dump")["first"] == 3
    assert dumped.fingerprint(tmp_path / "dump") == split.fingerprint


def test_dumped_evaluation_has_every_batch_and_the_ground_truth(coco, tmp_path):
    split = loader.open_split(coco, "val")
    dump.write_dump(loader.eval_batches(coco, split, shards=1), tmp_path / "dump", coco, split, "eval")
    again = loader.eval_batches(coco, split, shards=1)
    for found, expected in zip(dumped.eval_batches(tmp_path / "dump"), again, strict=True):
        assert_equal(found, expected)
    assert dumped.ground_truth(tmp_path / "dump") == split.ground_truth()


def test_command_writes_what_a_process_without_tensorflow_reads(tiny, tmp_path):
    loader.open_split(tiny, "train")
    folder = tmp_path / "dump"
    flags = [f"--config.data.prepared={tiny.data.prepared}", "--config.data.synthetic.train_pictures=60"]
    command = ["-m", "input_pipeline.dump", "--config=configs/synthetic_tiny.py", f"--output={folder}", "--steps=2"]
    subprocess.run([sys.executable, *command, *flags], check=True, capture_output=True, timeout=120)
    program = (
        "import sys; sys.modules['tensorflow'] = sys.modules['input_pipeline'] = None\n"
        "from querypose_jax.training.dumped import train_batches\n"
        f"print(next(train_batches({str(folder)!r})).image.shape)"
    )
    read = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    assert read.stdout == "(8, 160, 192, 3)\n"


def test_an_interrupted_dump_leaves_nothing_and_an_existing_folder_stays(coco, tmp_path):
    split = loader.open_split(coco, "val")

    def failing():
        yield from itertools.islice(loader.eval_batches(coco, split, shards=1), 1)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        dump.write_dump(failing(), tmp_path / "dump", coco, split, "eval")
    assert not list(tmp_path.glob("dump*"))
    (tmp_path / "dump").mkdir()
    with pytest.raises(UserError, match="exists already"):
        dump.write_dump([], tmp_path / "dump", coco, split, "eval")


def test_a_folder_without_a_dump_or_with_half_of_one_is_one_clear_line(coco, tmp_path):
    with pytest.raises(UserError, match=r"dump.json: no such file; write a dump"):
        next(dumped.train_batches(tmp_path))
    split = loader.open_split(coco, "val")
    dump.write_dump(loader.eval_batches(coco, split, shards=1), tmp_path / "dump", coco, split, "eval")
    (tmp_path / "dump" / "batch_000000.npz").unlink()
    with pytest.raises(UserError, match="dump.json says 7"):
        dumped.eval_batches(tmp_path / "dump")
