"""Kills one of two training processes at random, again and again, and compares with a run that nobody killed.

    python scripts/kill_processes.py [--kills=10] [--steps=60] [--seed=0]

Two processes of two CPU devices each train the tiny model on synthetic people. One of them gets SIGKILL at a random
step; both are started again with the same command. In the end every loss must be that of the run without kills, to the
bit. Prints one line per kill: the step, how long the other process took to end, its exit code and last line.
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
HEARTBEAT_S = 30
PATIENCE_S = 600  # for anything that should happen


def start(workdir: Path, data: Path, steps: int) -> list[subprocess.Popen]:
    """Both processes of a run."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    command = [
        sys.executable, "launch.py", "--config=tests/tiny_run.py", f"--workdir={workdir}",
        f"--config.data.prepared={data}", "--config.data.batch_size=4", f"--config.train.num_steps={steps}",
        "--config.train.checkpoint_every=5", f"--config.train.heartbeat_s={HEARTBEAT_S}",
        f"--coordinator=localhost:{port}", "--num_processes=2",
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed, data = (Path(folder) / name for name in ("whole", "killed", "data"))
        finish(start(whole, data, options.steps))
        for number, step in enumerate(sorted(rng.sample(range(2, options.steps - 5), options.kills)), 1):
            victim = rng.randrange(2)
            print(f"kill {number}: process {victim} after step {step}: ", end="", flush=True)
            print(kill_one(start(killed, data, options.steps), killed, step, victim), flush=True)
        finish(start(killed, data, options.steps))
        expected, found = losses(whole), losses(killed)
    once = list(found) == list(range(1, options.steps + 1))
    different = [step for step in expected if expected[step] != found.get(step)]
    print(f"steps logged once and in order: {once}; losses that differ: {len(different)} of {options.steps}", end="")
    print(f", the first at step {different[0]}" if different else "")
    sys.exit(bool(different) or not once)


if __name__ == "__main__":
    main()
