"""The one logging path: metrics.jsonl, TensorBoard, Weights & Biases where asked for, and the progress bar."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from querypose_jax.checkpoints.config_json import read_config
from querypose_jax.checkpoints.results import results_folder
from querypose_jax.errors import UserError
from querypose_jax.files import write_text
from querypose_jax.memory import release_memory
from querypose_jax.pictures import read_picture
from querypose_jax.structures import Batch

NAME = "metrics.jsonl"


class MetricsLog:
    """Writes what a run measures. Use as a context.

    After a restart from step s the file forgets what came later, so that it holds each step once.
    """

    def __init__(self, directory: Path, start_step: int, wandb_project: str = ""):
        """
        Args:
            directory: of the run.
            start_step: steps done so far.
            wandb_project: the project at Weights & Biases that gets the same values and pictures; "" for none.

        Raises:
            UserError: Weights & Biases is asked for and not installed.
        """
        self.directory, self.path = directory, directory / NAME
        self.wandb = open_wandb(directory, wandb_project) if wandb_project else None
        _forget_after(self.path, start_step)
        self.file = self.path.open("a")
        self.tensorboard = SummaryWriter(str(directory), purge_step=start_step + 1 if start_step else None)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error) -> None:
        self.file.close()
        self.tensorboard.close()
        if self.wandb:
            self.wandb.finish()

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics.jsonl, one point per curve, and the pictures of the step's evaluation where there was
        one; on disk before it returns."""
        self.file.write(json.dumps({"step": step} | values) + "\n")
        self.file.flush()
        pictures = {
            f"{kind}/{path.stem}": np.asarray(read_picture(path))
            for kind in ("pictures", "worst", "best")
            for path in sorted((results_folder(self.directory, step) / kind).glob("*.jpg"))
        }
        for name, value in values.items():
            self.tensorboard.add_scalar(name, value, step)
        for name, pixels in pictures.items():
            self.tensorboard.add_image(name, pixels, step, dataformats="HWC")
        self.tensorboard.flush()
        if self.wandb:
            import wandb

            self.wandb.log(values | {name: wandb.Image(pixels) for name, pixels in pictures.items()}, step=step)


def open_wandb(directory: Path, project: str) -> Any:
    """The run of this directory at Weights & Biases, continued where it was begun before.

    Raises:
        UserError: it is not installed.
    """
    try:
        import wandb
    except ModuleNotFoundError:
        raise UserError(
            f"config.train.wandb_project={project!r}: wandb is not installed; pip install '.[wandb]' in the clone"
        ) from None
    identity = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]
    config = read_config(directory).to_dict()
    return wandb.init(
        project=project, name=directory.name, id=identity, resume="allow", dir=str(directory), config=config
    )


class Compiling:
    """Says what the program does while nothing else happens: each new shape of batch compiles once."""

    def __init__(self, bar: tqdm):
        self.bar, self.seen = bar, set[tuple]()

    @contextmanager
    def told(self, batch: Batch) -> Iterator[None]:
        """Use around the call that may compile; the first time it is a line, later it stands at the bar."""
        shape = (batch.image.shape, batch.budget)
        if shape in self.seen:
            yield
            return
        people = f", up to {batch.budget.people} people" if batch.budget else ""
        what = "{} pictures of {}x{}".format(*batch.image.shape) + people
        if not self.seen and not self.bar.disable:
            self.bar.write(f"compiling the training step for {what}; every other shape compiles when it first comes")
        self.seen.add(shape)
        self.bar.set_description(f"compiling for {what}")
        yield
        release_memory()
        self.bar.set_description("train")


class Speed:
    """Pictures per second since the last reading, without the time spent in `excluded` blocks."""

    def __init__(self):
        self.start, self.pictures = time.perf_counter(), 0

    def restart(self) -> float:
        """Begins a new window; returns the seconds of the old one."""
        seconds = time.perf_counter() - self.start
        self.start, self.pictures = self.start + seconds, 0
        return seconds

    def add(self, pictures: int) -> None:
        """Counts pictures that are done."""
        self.pictures += pictures

    def read(self) -> float:
        """Pictures per second of the window that ends now; a new one starts."""
        pictures = self.pictures
        return pictures / self.restart()

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """Time in here does not count."""
        paused = time.perf_counter()
        yield
        self.start += time.perf_counter() - paused


def progress_bar(start_step: int, num_steps: int, show: bool = True) -> tqdm:
    """Steps done, time left and, by `bar.set_postfix`, loss and pictures per second; sparse where nobody watches."""
    seconds = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(total=num_steps, initial=start_step, unit="step", desc="train", mininterval=seconds, disable=not show)


def _forget_after(path: Path, step: int) -> None:
    """Drops the lines of later steps, and a last line that a crash cut off."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            continue
    write_text(path, "".join(kept))
