"""The one logging path: metrics.jsonl, TensorBoard and the progress bar."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from querypose_jax.files import write_text

NAME = "metrics.jsonl"


class MetricsLog:
    """Writes what a run measures. Use as a context.

    After a restart from step s the file forgets what came later, so that it holds each step once.
    """

    def __init__(self, directory: Path, start_step: int):
        self.path = directory / NAME
        _forget_after(self.path, start_step)
        self.file = self.path.open("a")
        self.tensorboard = SummaryWriter(str(directory), purge_step=start_step + 1 if start_step else None)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error) -> None:
        self.file.close()
        self.tensorboard.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics.jsonl and one point per curve; on disk before it returns."""
        self.file.write(json.dumps({"step": step} | values) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.tensorboard.add_scalar(name, value, step)
        self.tensorboard.flush()


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
