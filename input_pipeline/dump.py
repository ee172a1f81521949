"""Batches as files, to train, evaluate or time steps where tensorflow is not installed.

    python -m input_pipeline.dump --config=configs/X.py --output=DIR --steps=N [--first=S] [--shards=D]
    python -m input_pipeline.dump --config=configs/X.py --output=DIR --kind=eval [--shards=D]

DIR gets one uncompressed npz per batch (the fields of `Batch` by name, `budget` as shards, people),
ground_truth.json (COCO form) and dump.json. querypose_jax/training/dumped.py reads them. --config.a.b=value overrides.
"""

import dataclasses
import itertools
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict
from tqdm import tqdm

from input_pipeline.loader import Split, eval_batches, open_split, train_batches
from querypose_jax import command_line
from querypose_jax.errors import UserError
from querypose_jax.structures import Batch


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", None, "folder to write, must not exist", required=True, **values)
    flags.DEFINE_enum("kind", "train", ["train", "eval"], "batches of data.train_split or data.eval_split", **values)
    flags.DEFINE_integer("steps", None, "train: number of batches", lower_bound=1, **values)
    flags.DEFINE_integer("first", 0, "train: first step", lower_bound=0, **values)
    flags.DEFINE_integer("shards", 1, "devices the batches are for", lower_bound=1, **values)


def main(options: flags.FlagValues) -> int:
    config = options.config
    if options.kind == "eval":
        split = open_split(config, config.data.eval_split)
        batches = eval_batches(config, split, shards=options.shards)
    elif options.steps is None:
        raise UserError("command line: --steps=N is missing; training batches have no end")
    else:
        split = open_split(config, config.data.train_split)
        stream = train_batches(config, split, start_step=options.first, shards=options.shards)
        batches = itertools.islice(stream, options.steps)
    count, size = write_dump(batches, Path(options.output), config, split, options.kind, options.first)
    print(f"{options.output}: {count} batches, {size / 2**20:.1f} MiB")
    return 0


def write_dump(
    batches: Iterable[Batch], folder: Path, config: ConfigDict, split: Split, kind: str, first: int = 0
) -> tuple[int, int]:
    """Writes batches into a new folder, which appears when it is complete.

    Returns:
        number of batches, bytes.

    Raises:
        UserError: the folder exists.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already; name another folder or remove it")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    count = 0
    try:
        for batch in tqdm(batches, desc=f"writing {folder.name}", unit=" batches", mininterval=1):
            np.savez(partial / f"batch_{count:06d}.npz", **batch_arrays(batch))
            count += 1
        (partial / "ground_truth.json").write_text(json.dumps(split.ground_truth()))
        about = dict(kind=kind, first=first, batches=count, fingerprint=split.fingerprint, config=config.to_dict())
        (partial / "dump.json").write_text(json.dumps(about, indent=2))
        size = sum(path.stat().st_size for path in partial.iterdir())
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count, size


def batch_arrays(batch: Batch) -> dict[str, np.ndarray]:
    """The fields of a batch as arrays; budget, where there is one, as int64 [2]: shards, people."""
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    arrays = {name: value for name, value in fields.items() if value is not None}
    budget = arrays.pop("budget", None)
    return arrays if budget is None else arrays | {"budget": np.array(budget, np.int64)}


if __name__ == "__main__":
    sys.exit(command_line.run(main, __doc__, define_flags))
