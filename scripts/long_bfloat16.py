"""Trains a small model in bfloat16 for thousands of steps and counts those that were not finite.

    python scripts/long_bfloat16.py [--steps=5000] [--config=tests/tiny_family.py:querypose]

Two pictures of 64x96 pixels a step. Every tenth step is logged, with the number of steps skipped so far. Exit code 1
where one was skipped or the run did not come to its end.
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


def train(config: str, folder: Path, steps: int) -> int:
    """The exit code of the run."""
    command = [
        sys.executable, "launch.py", f"--config={config}", f"--workdir={folder / 'run'}",
        f"--config.data.prepared={folder / 'data'}", "--config.model.dtype=bfloat16",
        "--config.data.synthetic.train_pictures=500", f"--config.train.num_steps={steps}",
        f"--config.train.checkpoint_every={steps}", "--config.train.log_every=10",
        "--config.train.max_bad_steps=1000000",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, **quiet).returncode


def survive(config: str, folder: Path, steps: int) -> dict:
    """Trains so long; the steps done and skipped, and losses.

    Raises:
        SystemExit: nothing was logged.
    """
    code = train(config, folder, steps)
    path = folder / "run" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    losses = [line["loss/total"] for line in lines if "loss/total" in line]
    if not losses:
        raise SystemExit(f"nothing was logged, exit code {code}")
    last, skipped = lines[-1]["step"], int(lines[-1]["skipped_steps"])
    differs = [f"exit code {code} after step {last}"] if code or last != steps else []
    differs += [f"{skipped} steps are not finite"] if skipped else []
    return {
        "steps": last,
        "skipped": skipped,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "largest_loss": max(losses),
        "largest_grad_norm": max(line["grad_norm"] for line in lines if "grad_norm" in line),
        "differs": differs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--config", default="tests/tiny_family.py:querypose")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        found = survive(options.config, Path(name), options.steps)
    print(f"{found['steps']} of {options.steps} steps in {time.monotonic() - began:.0f} s")
    print(f"loss/total {found['first_loss']:.2f} at the first step, {found['last_loss']:.2f} at the last")
    print(f"largest loss/total {found['largest_loss']:.2f}, largest grad_norm {found['largest_grad_norm']:.1f}")
    print("\n".join(found["differs"]) or "skipped: 0")
    sys.exit(bool(found["differs"]))


if __name__ == "__main__":
    main()
