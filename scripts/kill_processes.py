"""Kills one of two training processes at random, again and again, and compares with a run that nobody killed.

    python scripts/kill_processes.py [--kills=10] [--steps=60] [--seed=0] [--config=tests/tiny_family.py:querypose]

Two processes of two CPU devices each train a tiny model on synthetic people. One of them, in turn, gets SIGKILL at a
random step; both are started again with the same command. In the end every loss and every array of the last checkpoint
must be that of the run without kills, to the bit. Prints one line per kill: the step, how long the other process took
to end, its exit code and last line.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from querypose_jax.checkpoints.checkpoint import load_arrays  # noqa: E402
from scripts.kill_training import differing  # noqa: E402

HEARTBEAT_S = 30
PATIENCE_S = 600  # for anything that should happen


def start(config: str, workdir: Path, steps: int) -> list[subprocess.Popen]:
    """Both processes of a run."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(workdir.parent / "programs")
    command = [
        sys.executable, "launch.py", f"--config={config}", f"--workdir={workdir}",
        f"--config.data.prepared={workdir.parent / 'data'}", "--config.data.batch_size=4",
        f"--config.train.num_steps={steps}", "--config.train.checkpoint_every=5",
        f"--config.train.heartbeat_s={HEARTBEAT_S}", f"--coordinator=localhost:{port}", "--num_processes=2",
    ]  # fmt: skip
    return [
        subprocess.Popen(
            [*command, f"--process_id={i}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]


def losses(workdir: Path) -> dict[int, float]:
    """Total loss by logged step."""
    path = workdir / "metrics.jsonl"
    text = path.read_text().split("\n")[:-1] if path.exists() else []
    return {entry["step"]: entry["loss/total"] for entry in map(json.loads, text)}


def finish(processes: list[subprocess.Popen]) -> None:
    """Waits for a run that must succeed."""
    for process in processes:
        _, errors = process.communicate(timeout=PATIENCE_S)
        if process.returncode:
            raise SystemExit(f"a process ended with {process.returncode}: {errors.decode()[-2000:]}")


def kill_one(processes: list[subprocess.Popen], workdir: Path, step: int, victim: int) -> str:
    """SIGKILL for one process once `step` is logged; what the other one did."""
    deadline = time.monotonic() + PATIENCE_S
    while max(losses(workdir), default=0) < step:
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
            raise SystemExit(f"the run does not come to step {step}: {processes[0].stderr.read().decode()[-2000:]}")
        time.sleep(0.02)
    processes[victim].kill()
    killed = time.monotonic()
    other = processes[1 - victim]
    _, errors = other.communicate(timeout=PATIENCE_S)
    processes[victim].communicate()
    said = [line for line in errors.decode().splitlines() if "error: " in line or "Terminating process" in line]
    line = said[-1].split("] ")[-1][:100]
    return f"the other ended after {time.monotonic() - killed:.1f} s with {other.returncode}: {line}"


def survive(config: str, folder: Path, kills: int, steps: int, seed: int) -> dict:
    """Kills one of two processes so often, both in turn; what came of it.

    Returns:
        `kills`, `steps`, `arrays` of the last checkpoint, and `differs`: lines about what is not equal to the bit.
    """
    rng = random.Random(seed)
    whole, killed = folder / "whole", folder / "killed"
    finish(start(config, whole, steps))
    told = []
    for number, step in enumerate(sorted(rng.sample(range(2, steps - 5), kills)), 1):
        victim = (number + seed) % 2
        came = kill_one(start(config, killed, steps), killed, step, victim)
        told.append(f"process {victim} after step {step}: {came}")
        print(f"kill {number}: {told[-1]}", flush=True)
    finish(start(config, killed, steps))
    expected, found = losses(whole), losses(killed)
    arrays = load_arrays(killed, steps)
    differs = [] if list(found) == list(range(1, steps + 1)) else ["steps are not logged once and in order"]
    differs += [f"loss of step {step}" for step in expected if expected[step] != found.get(step)]
    differs += [f"step {steps}: {name}" for name in differing(killed, whole, steps)]
    return {"kills": told, "steps": steps, "arrays": len(arrays), "differs": differs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", default="tests/tiny_family.py:querypose")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = survive(options.config, Path(folder), options.kills, options.steps, options.seed)
    print(f"{found['steps']} steps, {found['arrays']} arrays of the last checkpoint")
    print("\n".join(found["differs"]) or "nothing differs")
    sys.exit(bool(found["differs"]))


if __name__ == "__main__":
    main()
