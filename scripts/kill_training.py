"""Kills a training run again and again, at the worst moments too, and compares with a run that nobody killed.

    python scripts/kill_training.py [--kills=20] [--steps=240] [--seed=0]

One process trains the tiny model on synthetic people; a checkpoint every 4 steps, an evaluation every 12. It is killed

    write        while a checkpoint is half written
    evaluation   while an evaluation is under way
    step         at a random step
    start        at a random moment of its first seconds: importing, restoring, compiling

(SIGKILL) and is started again with the same command. In the end every logged number that does not depend on the clock,
and every array of the last checkpoint (parameters, statistics, moments), must be those of the run without kills, to the
bit. After every kill all checkpoints must be readable and equal, to the bit, to those of the other run; all the while
the folder is watched: it may hold keep + 1 checkpoints, whole or in the making. Prints a line per kill.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from querypose_jax.checkpoints.checkpoint import finished_steps, load_arrays, newest_step  # noqa: E402
from querypose_jax.checkpoints.results import is_evaluated  # noqa: E402

CHECKPOINT_EVERY, EVALUATE_EVERY, KEEP_LAST = 4, 12, 2
KEEP = KEEP_LAST + 1  # the newest ones and the best
KINDS = ("write", "evaluation", "step", "start")
CLOCK = ("images_per_second", "first_step_seconds")  # logged, and different in every run
START_S = 8.0  # seconds in which a start is killed
PATIENCE_S = 600  # for anything that should happen


def start(workdir: Path, shared: Path, steps: int, keep_last: int = KEEP_LAST) -> subprocess.Popen:
    """A run, whose programs and data are made once."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(shared / "programs"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [
        sys.executable, "launch.py", "--config=tests/tiny_run.py", f"--workdir={workdir}",
        f"--config.data.prepared={shared / 'data'}", "--config.matching.solver=device",
        f"--config.train.num_steps={steps}", f"--config.train.checkpoint_every={CHECKPOINT_EVERY}",
        f"--config.train.keep_last={keep_last}", f"--config.eval.every={EVALUATE_EVERY}", "--config.eval.num_drawn=0",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | cache, **quiet)


def finish(process: subprocess.Popen) -> None:
    """Waits for a run that must succeed."""
    _, errors = process.communicate(timeout=PATIENCE_S)
    if process.returncode:
        raise SystemExit(f"a run ended with {process.returncode}: {errors.decode()[-2000:]}")


def logged(workdir: Path) -> list[dict]:
    """What metrics.jsonl holds, without the clock; the last line may still be in the making."""
    path = workdir / "metrics.jsonl"
    text = path.read_text().split("\n")[:-1] if path.exists() else []
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCK} for line in text]


def last_step(workdir: Path) -> int:
    """The last logged step."""
    return max((line["step"] for line in logged(workdir)), default=0)


def writing(workdir: Path) -> set[str]:
    """Checkpoints in the making."""
    return {path.name for path in workdir.glob("checkpoints/*.orbax-checkpoint-tmp")}


def evaluating(workdir: Path) -> int | None:
    """The step that is being evaluated: it is saved, and its evaluation is due and not complete."""
    newest = newest_step(workdir)
    is_due = newest and newest % EVALUATE_EVERY == 0 and not is_evaluated(workdir, newest)
    return newest if is_due else None


def moment(kind: str, workdir: Path, rng: random.Random) -> Callable[[], bool]:
    """`has_come()` of a moment to kill at."""
    if kind == "write":
        before, skipped = writing(workdir), rng.randrange(2)
        seen: set[str] = set()

        def has_come() -> bool:
            now = writing(workdir) - before
            seen.update(now)
            return bool(now) and len(seen) > skipped

        return has_come
    if kind == "evaluation":
        return lambda: evaluating(workdir) is not None
    if kind == "step":
        step = last_step(workdir) + rng.randrange(1, 2 * CHECKPOINT_EVERY)
        return lambda: last_step(workdir) >= step
    until = time.monotonic() + rng.uniform(0, START_S)
    return lambda: time.monotonic() >= until


def kill(process: subprocess.Popen, kind: str, workdir: Path, rng: random.Random) -> str | None:
    """SIGKILL at such a moment; what was seen to be under way then, None where it had just ended."""
    has_come = moment(kind, workdir, rng)
    deadline = time.monotonic() + PATIENCE_S
    while not has_come():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"no moment of kind {kind}: {process.stderr.read().decode()[-2000:]}")
        time.sleep(0.001)
    time.sleep({"write": rng.uniform(0, 0.05), "evaluation": rng.uniform(0, 1.0)}.get(kind, 0.0))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    half, step = sorted(writing(workdir)), evaluating(workdir)
    if kind == "write":
        return f"inside the write of {half[-1]}" if half else None
    if kind == "evaluation":
        return f"inside the evaluation of step {step}" if step else None
    under_way = f", inside the evaluation of step {step}" if step else ""
    return f"after step {last_step(workdir)}" + (f", inside the write of {half[-1]}" if half else under_way)


class Watch(threading.Thread):
    """Counts the checkpoints on disk, whole, half written and half deleted, the whole time."""

    def __init__(self, workdir: Path):
        super().__init__(daemon=True)
        self.folder, self.most, self.looks, self.over = workdir / "checkpoints", 0, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.002):
            paths = [*self.folder.glob("*"), *self.folder.glob("deleted/*")]
            # One that is moved or renamed between the two looks is still one.
            held = {path.name.partition(".")[0] for path in paths if path.name[0].isdigit()}
            self.most, self.looks = max(self.most, len(held)), self.looks + 1


def differing(killed: Path, whole: Path, step: int) -> list[str]:
    """Names of the arrays of a step's checkpoint that are not equal to the bit."""
    found, expected = load_arrays(killed, step), load_arrays(whole, step)
    names = sorted(found.keys() | expected.keys())
    return [n for n in names if n not in found or n not in expected or found[n].tobytes() != expected[n].tobytes()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, began = random.Random(options.seed), time.monotonic()
    bad, reached = [], Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        whole, killed, shared = (Path(folder) / name for name in ("whole", "killed", "shared"))
        finish(start(whole, shared, options.steps, keep_last=options.steps))  # keeps all, to compare with
        print(f"run without kills: {time.monotonic() - began:.0f} s", flush=True)
        watch = Watch(killed)
        watch.start()
        number = 0
        while number < options.kills:
            kind = KINDS[number % len(KINDS)]
            told = kill(start(killed, shared, options.steps), kind, killed, rng)
            if told is None:
                continue  # a moment too late: one more kill of this kind
            number += 1
            reached[kind] += 1
            newest = newest_step(killed)
            wrong = [name for step in finished_steps(killed) for name in differing(killed, whole, step)]
            bad += wrong
            state = f"{len(wrong)} arrays differ ({wrong[0]})" if wrong else "equal to the bit"
            left = "no checkpoint yet" if newest is None else f"checkpoints {finished_steps(killed)}: {state}"
            print(f"kill {number:2d} ({kind}) {told}; {left}", flush=True)
        finish(start(killed, shared, options.steps))
        watch.over.set()
        watch.join()
        lines = [(a, b) for a, b in zip(logged(whole), logged(killed), strict=False) if a != b]
        lengths = (len(logged(whole)), len(logged(killed)))
        last = differing(killed, whole, options.steps)
        arrays = load_arrays(killed, options.steps)
    numbers = sum(np.size(array) for array in arrays.values())
    print(f"kills by moment: {dict(reached)}; {time.monotonic() - began:.0f} s in all")
    print(f"lines of metrics.jsonl: {lengths[1]} of {lengths[0]}, {len(lines)} differ")
    print(f"last checkpoint: {len(arrays)} arrays, {numbers} numbers; {len(last)} arrays differ")
    print(f"checkpoints on disk: at most {watch.most} in {watch.looks} looks; allowed {KEEP + 1}")
    sys.exit(bool(bad or lines or last or lengths[0] != lengths[1] or watch.most > KEEP + 1))


if __name__ == "__main__":
    main()
