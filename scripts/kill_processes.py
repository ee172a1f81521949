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
import shutil
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
PATIENCE_S = 1800  # for anything that should happen: on a busy machine compiling takes many minutes
LOST = {4, -6}  # how processes end that lost each other: by themselves, or by JAX's coordination service
TRIES = 4  # to start such ones again


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


def reach(config: str, workdir: Path, steps: int, step: int, lost: list[str], anew: bool = False) -> list:
    """Both processes of a run that has logged a step.

    On a machine that is overbooked they may lose each other on the way, as gloo waits for 30 seconds only: that is what
    they must say then, and they are started again.

    Args:
        config, workdir, steps: of the run.
        step: to come to.
        lost: gets a line for every start that was lost.
        anew: a start that was lost leaves nothing behind.
    """
    for _ in range(TRIES):
        processes, deadline = start(config, workdir, steps), time.monotonic() + PATIENCE_S
        while max(losses(workdir), default=0) < step and all(process.poll() is None for process in processes):
            if time.monotonic() > deadline:
                for process in processes:
                    process.kill()
                raise SystemExit(f"the run does not come to step {step} in {PATIENCE_S} s")
            time.sleep(0.02)
        if max(losses(workdir), default=0) >= step:
            return processes
        said = [process.communicate(timeout=PATIENCE_S)[1].decode() for process in processes]
        codes = [process.returncode for process in processes]
        if not set(codes) <= LOST:
            raise SystemExit(f"processes ended with {codes}: {said[0][-2000:]}")
        lost.append(f"before step {step}: {last_words(said)}")
        print(f"processes lost each other, {lost[-1]}", flush=True)
        if anew:
            shutil.rmtree(workdir, ignore_errors=True)
    raise SystemExit(f"processes lost each other {TRIES} times in a row")


def last_words(said: list[str]) -> str:
    """The last line of some output that says why a process ended."""
    lines = [line for text in said for line in text.splitlines() if "error: " in line or "Terminating process" in line]
    return lines[-1].split("] ")[-1][:100] if lines else ""


def finish(processes: list[subprocess.Popen]) -> None:
    """Waits for a run that must succeed."""
    for process in processes:
        _, errors = process.communicate(timeout=PATIENCE_S)
        if process.returncode:
            raise SystemExit(f"a process ended with {process.returncode}: {errors.decode()[-2000:]}")


def kill_one(processes: list[subprocess.Popen], victim: int) -> str:
    """SIGKILL for one process; what the other one did."""
    processes[victim].kill()
    killed = time.monotonic()
    other = processes[1 - victim]
    _, errors = other.communicate(timeout=PATIENCE_S)
    processes[victim].communicate()
    said = last_words([errors.decode()])
    return f"the other ended after {time.monotonic() - killed:.1f} s with {other.returncode}: {said}"


def survive(config: str, folder: Path, kills: int, steps: int, seed: int) -> dict:
    """Kills one of two processes so often, both in turn; what came of it.

    Returns:
        `kills`, `steps`, `arrays` of the last checkpoint, starts that were `lost`, and `differs`: lines about what is
        not equal to the bit.
    """
    rng = random.Random(seed)
    whole, killed = folder / "whole", folder / "killed"
    told: list[str] = []
    lost: list[str] = []
    finish(reach(config, whole, steps, steps, lost, anew=True))
    for number, step in enumerate(sorted(rng.sample(range(2, steps - 5), kills)), 1):
        victim = (number + seed) % 2
        came = kill_one(reach(config, killed, steps, step, lost), victim)
        told.append(f"process {victim} after step {step}: {came}")
        print(f"kill {number}: {told[-1]}", flush=True)
    finish(reach(config, killed, steps, steps, lost))
    expected, found = losses(whole), losses(killed)
    arrays = load_arrays(killed, steps)
    differs = [] if list(found) == list(range(1, steps + 1)) else ["steps are not logged once and in order"]
    differs += [f"loss of step {step}" for step in expected if expected[step] != found.get(step)]
    differs += [f"step {steps}: {name}" for name in differing(killed, whole, steps)]
    return {"kills": told, "steps": steps, "arrays": len(arrays), "lost": lost, "differs": differs}


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
