"""Reads batches that `python -m input_pipeline.dump` has written. Needs neither tensorflow nor the input pipeline.

from querypose_jax.training import dumped, loop
loop.train(config, lambda step: dumped.train_batches("batches", step), workdir)
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from querypose_jax.errors import UserError
from querypose_jax.structures import Batch, PeopleBudget


def train_batches(folder: str | Path, start_step: int = 0) -> Iterator[Batch]:
    """Batches from a step on, without end: after the last file follows the first one again.

    Raises:
        UserError: the folder holds no complete dump.
    """
    paths = batch_files(folder)
    for step in itertools.count(start_step):
        yield read_batch(paths[step % len(paths)])


def eval_batches(folder: str | Path) -> Iterator[Batch]:
    """Every batch once; raises UserError when the folder holds no complete dump."""
    return map(read_batch, batch_files(folder))


def ground_truth(folder: str | Path) -> dict:
    """COCO-format dict of the split that the batches come from."""
    return json.loads((Path(folder) / "ground_truth.json").read_text())


def fingerprint(folder: str | Path) -> str:
    """Tells the data set of a dump from others."""
    return about(folder)["fingerprint"]


def about(folder: str | Path) -> dict:
    """dump.json: kind (train | eval), first step, number of batches, fingerprint of the data, the whole config."""
    path = Path(folder) / "dump.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; write a dump with: python -m input_pipeline.dump --output={folder}")
    return json.loads(path.read_text())


def batch_files(folder: str | Path) -> list[Path]:
    """The files of a dump in order; raises UserError where some are missing."""
    count = about(folder)["batches"]
    paths = sorted(Path(folder).glob("batch_*.npz"))
    if len(paths) != count or not count:
        raise UserError(f"{folder}: holds {len(paths)} batches, dump.json says {count}; write the dump again")
    return paths


def read_batch(path: Path) -> Batch:
    """One batch, numpy, as the loader yields it."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    budget = arrays.pop("budget", None)
    return Batch(**arrays, budget=None if budget is None else PeopleBudget(*budget.tolist()))
