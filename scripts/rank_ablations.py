"""Trains the ablations of configs/ablations_tiny.py with several seeds and ranks them by keypoint AP.

    python scripts/rank_ablations.py --output=runs/ranking [--seeds=0,1,2] [--variants=default,iteration=none] \
        [--cores=0,1] [--steps=N] [--table]

Runs what is not finished yet, one run after the other on one thread (on every core of --cores at once), seed by seed,
so that whatever is there can be compared; the same command continues. --table only writes OUTPUT/table.md from what is
finished. A run keeps its metrics, not its checkpoints.
"""

import argparse
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from configs import ablations_tiny  # noqa: E402
from configs.ablations import VARIANTS  # noqa: E402

# One of each model: what has another name in another table, or is the default under a name, is left out.
RANKED = (
    "default", "iteration=none", "iteration=summation", "iteration=concatenation", "modules=baseline", "part_dim=32",
    "part_dim=128", "part_dim=256", "parts=17", "parts=13", "parts=5", "feedback=released", "feedback=none",
    "feedback=all",
)  # fmt: skip
LAST_LOGGED = 10  # logged steps at the end of a run over which its losses are averaged
METRIC, LENIENT = "keypoint/AP", "keypoint/AP50"


def run_folder(output: Path, variant: str, seed: int) -> Path:
    return output / variant / f"seed_{seed}"


def results(folder: Path, steps: int) -> dict[str, float] | None:
    """Metrics of a finished run and each stage's mean class loss over its last logged steps; None: not finished."""
    path = folder / "eval" / str(steps) / "metrics.json"
    if not path.exists():
        return None
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][-LAST_LOGGED:]
    names = sorted(name for name in logged[-1] if name.startswith("loss/loss_ce"))
    losses = {name: statistics.mean(entry[name] for entry in logged) for name in names}
    return json.loads(path.read_text()) | losses


def train(output: Path, variant: str, seed: int, steps: int, core: int | None) -> None:
    """One run in a process of its own, on one thread; raises RuntimeError with its last words where it fails."""
    folder = run_folder(output, variant, seed)
    folder.mkdir(parents=True, exist_ok=True)
    pin = ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []
    command = [
        *pin, sys.executable, "launch.py", f"--config=configs/ablations_tiny.py:{variant}", f"--workdir={folder}",
        f"--config.data.prepared={output / 'prepared'}", f"--config.train.seed={seed}",
        f"--config.train.num_steps={steps}",
    ]  # fmt: skip
    one_thread = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1"}
    environment = os.environ | one_thread | {"JAX_COMPILATION_CACHE_DIR": str(output / "programs")}
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        last = (folder / "log.txt").read_text().strip().splitlines()[-1:]
        raise RuntimeError(f"{variant}, seed {seed}: exit code {done.returncode}: {' '.join(last)}")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def table(output: Path, variants: Sequence[str], seeds: Sequence[int], steps: int) -> str:
    """Markdown: keypoint AP, mean, standard deviation and each seed, best first; means of AP50 and of class losses."""
    found = {v: [results(run_folder(output, v, seed), steps) for seed in seeds] for v in variants}
    stages = ablations_tiny.get_config().model.stages
    terms = [f"loss/loss_ce_{stage}" for stage in range(stages - 1)] + ["loss/loss_ce"]
    rows = []
    for variant, runs in found.items():
        done = [run for run in runs if run]
        if not done:
            continue
        scores = [run[METRIC] for run in done]
        spread = f"{statistics.stdev(scores):.3f}" if len(scores) > 1 else "-"
        cells = [f"{run[METRIC]:.3f}" if run else "-" for run in runs]
        losses = [f"{statistics.mean(run[term] for run in done):.3f}" for term in terms]
        mean = statistics.mean(scores)
        cells += [f"{statistics.mean(run[LENIENT] for run in done):.3f}", *losses]
        rows.append((mean, f"| `{variant}` | {mean:.3f} | {spread} | {' | '.join(cells)} |"))
    rows.sort(key=lambda row: row[0], reverse=True)
    columns = [*(f"seed {seed}" for seed in seeds), "mean AP50", *(f"class loss {s + 1}" for s in range(stages))]
    head = f"| variant | mean AP | deviation | {' | '.join(columns)} |\n|{'---|' * (3 + len(columns))}"
    return "\n".join([head, *(row for _, row in rows)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--variants", default=",".join(RANKED))
    parser.add_argument("--cores", default="", help="numbers of the cores to use, a run on each; default: one, any")
    parser.add_argument("--steps", type=int, default=ablations_tiny.get_config().train.num_steps)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    output, seeds = options.output.resolve(), [int(seed) for seed in options.seeds.split(",")]
    variants = options.variants.split(",")
    if unknown := [variant for variant in variants if variant not in VARIANTS]:
        raise SystemExit(f"error: variant {unknown[0]!r} is unknown; known: {', '.join(VARIANTS)}")
    free: queue.Queue[int | None] = queue.Queue()
    cores = [int(core) for core in options.cores.split(",")] if options.cores else [None]
    for core in cores:
        free.put(core)

    def finish(job: tuple[int, str]) -> None:
        seed, variant = job
        folder, core = run_folder(output, variant, seed), free.get()
        try:
            if results(folder, options.steps) is None:
                train(output, variant, seed, options.steps, core)
            print(f"{variant}, seed {seed}: {METRIC} {results(folder, options.steps)[METRIC]:.3f}", flush=True)
        finally:
            free.put(core)

    if not options.table:
        with ThreadPoolExecutor(len(cores)) as pool:
            for _ in pool.map(finish, [(seed, variant) for seed in seeds for variant in variants]):
                pass
    text = table(output, variants, seeds, options.steps)
    (output / "table.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
