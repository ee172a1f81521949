"""Everything worth measuring on a GPU, in one run of at most ten minutes.

    python scripts/gpu_report.py --out=report.jsonl [--budget=540] [--cache=DIR] [--rows="NAME;NAME"] [--tiny]
    python scripts/gpu_report.py --out=report.jsonl --show

Needs jax with CUDA, flax, optax, orbax-checkpoint, ml_collections, jaxtyping, scipy, safetensors, absl-py and tqdm: no
TensorFlow. The PyTorch peers run where QUERYPOSE_PEER names their folder and torch is there.

Rows come in the order of querypose_jax/bench/gpu/rows.py: the machine and its ceilings, the CUDA kernels against
float64, their times, inference and training of every family. Each row is a process of its own, so that none stops the
others; the next ones import, draw weights and trace while one measures, and only one has the device at a time. Every
result is a line of JSON in --out at once. Rows that are done are skipped when the same command runs again; those that
failed, or had no time, are tried again. --cache keeps compiled programs. --budget: seconds after which everything
ends; a row is not begun in its last 20. --tiny tries all of it on small models, on a CPU too.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from querypose_jax.bench.gpu.rows import ROWS  # noqa: E402
from querypose_jax.bench.gpu.sheet import CEILINGS, FULL, TINY, Sheet, fill, finished  # noqa: E402
from querypose_jax.bench.gpu.show import show  # noqa: E402

SHORTEST_S = 20.0  # a row with less time left is not begun
SLOWER = 10  # times may a trial on a CPU be
LOOK_S = 0.05  # between two looks at the processes
TAIL = 2000  # characters of what a process that died has said


class Worker:
    """The process of a row. It asks for its turn, and says that it is over, by files in a folder."""

    def __init__(self, row: str, options: argparse.Namespace, folder: Path):
        self.row, self.began = row, time.monotonic()
        self.turn_began: float | None = None
        self.signs = folder / str(list(ROWS).index(row))
        self.log = self.signs.with_suffix(".log")
        command = [sys.executable, __file__, f"--out={options.out}", f"--row={row}", f"--signs={self.signs}"]
        command += ["--tiny"] * options.tiny
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env=environment(options) | ROWS[row].environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # with its peers it is one group, which is ended together
            )

    def wants_turn(self) -> bool:
        return self.signs.with_suffix(".ready").exists()

    def give_turn(self) -> None:
        self.turn_began = time.monotonic()
        self.signs.with_suffix(".ready").unlink()
        self.signs.with_suffix(".go").touch()

    def took_back(self) -> bool:
        """Whether its turn is over."""
        over = self.signs.with_suffix(".over")
        if over.exists():
            over.unlink()
            self.turn_began = None
        return self.turn_began is None

    def end(self) -> None:
        """Ends it and its peers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def environment(options: argparse.Namespace) -> dict[str, str]:
    """Of the rows: memory of the GPU is taken as it is needed, since a row shares it with its peers."""
    cache = {"JAX_COMPILATION_CACHE_DIR": options.cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    kept = cache if options.cache else {}
    return {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1", **kept}


def report(options: argparse.Namespace) -> None:
    """Runs what is not done yet, until the budget is spent."""
    deadline = time.monotonic() + options.budget
    done = finished(options.out)
    todo = [row for row in options.rows or ROWS if row not in done]
    running: list[Worker] = []
    with tempfile.TemporaryDirectory() as name:
        while (todo or running) and time.monotonic() < deadline:
            first = CEILINGS in [worker.row for worker in running]  # the others divide by it
            if todo and len(running) < options.ahead and not first and deadline - time.monotonic() > SHORTEST_S:
                running.append(Worker(todo.pop(0), options, Path(name)))
            elif not running:
                break
            running = [worker for worker in running if not has_ended(worker, options)]
            if all(worker.took_back() for worker in running):
                waiting = [worker for worker in running if worker.wants_turn()]
                if waiting:
                    waiting[0].give_turn()
            time.sleep(LOOK_S)
        for worker in running:
            worker.end()
            note(options, worker, "there was no time left")
    for row in todo:
        Sheet(options.out, row, FULL).write(status="left out", error="there was no time left")


def has_ended(worker: Worker, options: argparse.Namespace) -> bool:
    """Whether a row is over, by itself or because it took too long; what went wrong is written down."""
    code = worker.process.poll()
    if code is None:
        limit_s = ROWS[worker.row].limit_s * (SLOWER if options.tiny else 1)
        if worker.turn_began is None or time.monotonic() - worker.turn_began < limit_s:
            return False
        worker.end()
        note(options, worker, f"ended after {limit_s:.0f} s")
    elif code:
        note(options, worker, f"exit code {code}")
    print(f"{worker.row}: {time.monotonic() - worker.began:.0f} s", flush=True)
    with options.log.open("a") as log:
        log.write(f"=== {worker.row}\n{worker.log.read_text()}\n")
    return True


def note(options: argparse.Namespace, worker: Worker, error: str) -> None:
    """A line for a row that did not come to its end."""
    sheet = Sheet(options.out, worker.row, FULL)
    sheet.write(status="failed", error=error, log=worker.log.read_text()[-TAIL:])


def fill_row(options: argparse.Namespace) -> int:
    """Measures one row in this process; returns the exit code, which only tells whether the process has died."""
    ready, go, over = (options.signs.with_suffix(end) for end in (".ready", ".go", ".over"))

    def wait_for_turn() -> None:
        ready.touch()
        while not go.exists():
            time.sleep(LOOK_S / 2)
        go.unlink()

    sheet = Sheet(options.out, options.row, TINY if options.tiny else FULL, wait_for_turn, over.touch)
    fill(sheet, ROWS[options.row].fill)  # writes down how it went
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=540.0)
    parser.add_argument("--cache", default="")
    parser.add_argument("--rows", type=lambda text: text.split(";"), help="names with ; between them")
    parser.add_argument("--ahead", type=int, default=2, help="rows at a time, all but one of them not measuring")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--show", action="store_true", help="print the table of a report and do nothing else")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--signs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.log = options.out.with_suffix(".log")
    if options.row:
        return fill_row(options)
    if not options.show:
        if unknown := [row for row in options.rows or () if row not in ROWS]:
            parser.error(f"--rows: {unknown[0]!r} is no row; known: {'; '.join(ROWS)}")
        report(options)
    print(show(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
