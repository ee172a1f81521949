"""Kills a training run again and again, at the worst moments too, and compares with a run that nobody killed.

    python scripts/kill_training.py [--kills=25] [--steps=240] [--seed=0] [--config=tests/tiny_family.py:querypose]

One process trains a tiny model on synthetic people; a checkpoint every 4 steps, an evaluation every 12. It is killed

    write        while a checkpoint is half written
    evaluation   while an evaluation is under way
    step         at a random step
    start        at a random moment of its first seconds: importing, restoring, compiling
    told         at a random step, by SIGTERM: it must save that step and end by itself

(else by SIGKILL) and is started again with the same command. In the end every logged number that does not depend on
the clock, and every array of the last checkpoint (parameters, their averages, statistics, moments), must be those of
the run without kills, to the bit. After every kill all checkpoints must be readable and equal, to the bit, to those of
the other run; all the while the folder is watched: it may hold keep + 1 checkpoints, whole or in the making. Prints a
line per kill.
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
from typing import NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from querypose_jax.checkpoints.checkpoint import finished_steps, load_arrays, newest_step  # noqa: E402
from querypose_jax.checkpoints.results import is_evaluated  # noqa: E402

CHECKPOINT_EVERY, EVALUATE_EVERY, KEEP_LAST = 4, 12, 2
KEEP = KEEP_LAST + 1  # the newest ones and the best
KINDS = ("write", "evaluation", "step", "start", "told")
CLOCK = ("images_per_second", "first_step_seconds")  # logged, and different in every run
START_S = 8.0  # seconds in which a start is killed
PATIENCE_S = 900  # for anything that should happen


class Run(NamedTuple):
    """A run of which there may be several, whose programs and data are made once."""

    config: str
    shared: Path
    """Folder of programs and data."""
    steps: int


def start(run: Run, workdir: Path, every: int = CHECKPOINT_EVERY, keep_last: int = KEEP_LAST) -> subprocess.Popen:
    """The run's process; `every` so many steps a checkpoint, of which the `keep_last` newest and the best stay."""
    shared = run.shared
    cache = {"JAX_COMPILATION_CACHE_DIR": str(shared / "programs"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [
        sys.executable, "launch.py", f"--config={run.config}", f"--workdir={workdir}",
        f"--config.data.prepared={shared / 'data'}",
        f"--config.train.num_steps={run.steps}", f"--config.train.checkpoint_every={every}",
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
    if kind in ("step", "told"):
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
            process.kill()
            raise SystemExit(f"no moment of kind {kind}: {process.stderr.read().decode()[-2000:]}")
        time.sleep(0.001)
    time.sleep({"write": rng.uniform(0, 0.05), "evaluation": rng.uniform(0, 1.0)}.get(kind, 0.0))
    process.send_signal(signal.SIGTERM if kind == "told" else signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_S)
    if kind == "told" and (process.returncode or newest_step(workdir) != last_step(workdir)):
        raise SystemExit(f"told to end, a run ended with {process.returncode} unsaved: {errors.decode()[-2000:]}")
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


def survive(run: Run, kills: int, seed: int) -> dict:
    """Kills a run so often; what it was like, and by name all that differs from a run that nobody killed.

    Returns:
        `kills` by moment, `lines` of metrics.jsonl, `arrays` and `numbers` of the last checkpoint, `most_checkpoints`
        on disk at a time, and `differs`: lines about what is not equal to the bit or more than it may be.
    """
    rng, began = random.Random(seed), time.monotonic()
    whole, killed = run.shared / "whole", run.shared / "killed"
    differs, reached = [], Counter[str]()
    finish(start(run, whole, every=1, keep_last=run.steps))  # all steps: a run that is told to end may save any
    print(f"run without kills: {time.monotonic() - began:.0f} s", flush=True)
    watch = Watch(killed)
    watch.start()
    while sum(reached.values()) < kills:
        kind = KINDS[sum(reached.values()) % len(KINDS)]
        told = kill(start(run, killed), kind, killed, rng)
        if told is None:
            continue  # a moment too late: one more kill of this kind
        reached[kind] += 1
        newest, steps = newest_step(killed), finished_steps(killed)
        wrong = [f"step {step}: {name}" for step in steps for name in differing(killed, whole, step)]
        differs += wrong
        state = f"{len(wrong)} arrays differ ({wrong[0]})" if wrong else "equal to the bit"
        left = "no checkpoint yet" if newest is None else f"checkpoints {steps}: {state}"
        print(f"kill {sum(reached.values()):2d} ({kind}) {told}; {left}", flush=True)
    finish(start(run, killed))
    watch.over.set()
    watch.join()
    expected, found = logged(whole), logged(killed)
    differs += [
        f"line {number} of metrics.jsonl"
        for number, (a, b) in enumerate(zip(expected, found, strict=False), 1)
        if a != b
    ]
    differs += [] if len(expected) == len(found) else [f"{len(found)} lines of metrics.jsonl, not {len(expected)}"]
    differs += [f"step {run.steps}: {name}" for name in differing(killed, whole, run.steps)]
    differs += [] if watch.most <= KEEP + 1 else [f"{watch.most} checkpoints on disk, not {KEEP + 1}"]
    arrays = load_arrays(killed, run.steps)
    return {
        "kills": dict(reached),
        "lines": len(found),
        "arrays": len(arrays),
        "numbers": int(sum(np.size(array) for array in arrays.values())),
        "most_checkpoints": watch.most,
        "differs": differs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", default="tests/tiny_family.py:querypose")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = survive(Run(options.config, Path(folder), options.steps), options.kills, options.seed)
    print(f"kills by moment: {found['kills']}; {time.monotonic() - began:.0f} s in all")
    print(f"lines of metrics.jsonl: {found['lines']}")
    print(f"last checkpoint: {found['arrays']} arrays, {found['numbers']} numbers")
    print(f"checkpoints on disk: at most {found['most_checkpoints']}; allowed {KEEP + 1}")
    print("\n".join(found["differs"]) or "nothing differs")
    sys.exit(bool(found["differs"]))


if __name__ == "__main__":
    main()
