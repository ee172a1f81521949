"""A run of the fake model whose checkpoints have a file system of their own, too small or suddenly read-only.

    unshare --user --map-root-user --mount python -m tests.checkpoints.small_disk DIR SIZE [READ_ONLY_AT_STEP]

Mounts SIZE (e.g. 2m) at DIR/checkpoints. Prints the run's error as the command line would, then the
checkpoints that can be read.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from absl import logging

from querypose_jax.checkpoints import checkpoint
from querypose_jax.devices.process import ignore_closed_event_loops
from querypose_jax.errors import UserError
from querypose_jax.training import loop
from tests.training.fakes import fake_batches, fake_config

WIDTH = 20_000  # a checkpoint of a megabyte; metrics and curves of a run are some kilobytes


def make_read_only(checkpoints: Path) -> None:
    """Once the first checkpoint is complete and no file is open."""
    for _ in range(400):
        time.sleep(0.05)
        command = ["mount", "-o", "remount,ro", checkpoints]
        if (checkpoints / "4").exists() and not subprocess.run(command, capture_output=True).returncode:
            return
    raise SystemExit(f"{checkpoints} does not become read-only")


def main(folder: str, size: str, read_only_at: str = "0") -> None:
    logging.set_verbosity(logging.FATAL)  # these two as launch.py does
    ignore_closed_event_loops()
    checkpoints = Path(folder, "checkpoints")
    checkpoints.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", checkpoints], check=True)

    def batches(start_step: int):
        for step, batch in enumerate(fake_batches()(start_step), start_step + 1):
            if step == int(read_only_at):
                make_read_only(checkpoints)
            yield batch

    config = fake_config(num_steps=12, log_every=1, checkpoint_every=4)
    config.model.width = WIDTH
    try:
        loop.train(config, batches, folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    for step in checkpoint.finished_steps(Path(folder)):
        print(f"step {step}: {len(checkpoint.load_arrays(Path(folder), step))} arrays")


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # as launch.py leaves
