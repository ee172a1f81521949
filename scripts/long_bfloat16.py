"""Trains the small model in bfloat16 for thousands of steps and counts those that were not finite.

    python scripts/long_bfloat16.py [--steps=5000]

The model of configs/synthetic_tiny.py, two pictures of 64x96 pixels a step. Every tenth step is logged, with the number
of steps skipped so far. Exit code 1 where one was skipped or the run did not come to its end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def train(folder: Path, steps: int) -> int:
    """The exit code of the run."""
    command = [
        sys.executable, "launch.py", "--config=configs/synthetic_tiny.py", f"--workdir={folder / 'run'}",
        f"--config.data.prepared={folder / 'data'}", "--config.model.dtype=bfloat16", "--config.data.batch_size=2",
        "--config.data.canvases=((64,96),)", "--config.data.short_sides=(64,)", "--config.data.longest_side=96",
        "--config.data.eval_short_side=64", "--config.data.people_ladder=(6,)", "--config.matching.solver=device",
        "--config.data.synthetic.height=64", "--config.data.synthetic.width=80",
        "--config.data.synthetic.train_pictures=500", "--config.data.synthetic.val_pictures=8",
        f"--config.train.num_steps={steps}", "--config.train.log_every=10", "--config.eval.num_drawn=0",
        "--config.train.max_bad_steps=1000000",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, **quiet).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        code = train(Path(name), options.steps)
        path = Path(name) / "run" / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    losses = [line["loss/total"] for line in lines if "loss/total" in line]
    skipped = lines[-1]["skipped_steps"] if lines else 0
    if not losses:
        raise SystemExit(f"nothing was logged, exit code {code}")
    last = lines[-1]["step"] if lines else 0
    print(f"{last} of {options.steps} steps in {time.monotonic() - began:.0f} s, exit code {code}")
    print(f"skipped: {skipped:.0f}; loss/total {losses[0]:.2f} at the first step, {losses[-1]:.2f} at the last")
    print(f"largest loss/total {max(losses):.2f}, largest grad_norm {max(line['grad_norm'] for line in lines):.1f}")
    sys.exit(bool(code or skipped or last != options.steps))


if __name__ == "__main__":
    main()
