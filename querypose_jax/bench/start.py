"""From nothing to the first poses of one picture, cold and with the programs that an earlier start has kept.

    python -m querypose_jax.bench start --config=configs/coco_r50.py [--workdir=RUN] [--canvas=800x1088]

Each row is a process of its own. `Predictor` rows have the phases of querypose_jax/bench/first_pose.py; `launch.py`
rows are one command, from the shell to the drawn picture on disk. Without --workdir a run of random weights is written
first. The floor is the time in which the program runs once it is there. Once each: --rounds counts for nothing here.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict
from PIL import Image

from querypose_jax.bench.inference import weights
from querypose_jax.bench.options import Options
from querypose_jax.bench.timing import table
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.errors import UserError

PHASES = ("imports", "restore", "trace, lower", "compile", "run")


def run(config: ConfigDict, options: Options) -> str:
    """Starts four processes, one after the other; returns the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = Path(options.workdir) if options.workdir else random_run(folder / "run", config)
        picture = folder / "picture.png"
        Image.new("RGB", options.canvas[::-1]).save(picture)
        command = ["launch", "--mode=predict", f"--workdir={model}", f"--input={picture}", "--threshold=0"]
        rows = []
        for way, cache in (("cold", "first"), ("warm", "first")):
            started = time.time()
            begin([*command, f"--output={folder / way}"], folder / cache)
            rows.append([f"launch.py, {way}", *[""] * len(PHASES), f"{time.time() - started:.1f}"])
        for way, cache in (("cold", "second"), ("warm", "first")):
            said = begin(["querypose_jax.bench.first_pose", str(model), str(picture), str(time.time())], folder / cache)
            phases = json.loads(said.splitlines()[-1])
            seconds = [phases[phase] for phase in PHASES]
            rows.append([f"Predictor, {way}", *(f"{s:.1f}" for s in seconds), f"{sum(seconds):.1f}"])
    head = ["seconds", *PHASES, "all"]
    size = f"1 x {options.canvas[0]} x {options.canvas[1]}"
    return f"{jax.devices()[0].device_kind}, {config.model.dtype}, {size}\n\n{table(head, rows)}"


def random_run(folder: Path, config: ConfigDict) -> Path:
    """A run that nobody has trained."""
    _, state = weights(config, None)
    save_model(folder, config, state)
    return folder


def begin(module: list[str], cache: Path) -> str:
    """Runs a module in a process of its own with its programs kept in `cache`; returns what it printed.

    Raises:
        UserError: it failed, with its last words.
    """
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-m", *module], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise UserError(f"bench start: python -m {module[0]} ended with {done.returncode}: {' '.join(last)}")
    return done.stdout
