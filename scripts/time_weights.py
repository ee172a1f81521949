"""Seconds and memory of reading a file that torch wrote: with torch, and here without it.

    python scripts/time_weights.py [--torch=/path/to/python] [--megabytes=180] [--rounds=7]

--torch names a Python that has torch (default: this one). It writes the file, with --optimizer also the state of an
optimizer, twice the size of the weights, beside them. Each reading is a process of its own, by turns. Prints medians:
seconds until the tensors are there and until numpy has added up every number; by how much the memory that is the
process's own (RssAnon) grew, and all that it had in memory at most (VmHWM), pages of a mapped file included.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
WRITE = """
import sys, torch
path, megabytes, optimizer = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
model = {f"layers.{i}.weight": torch.randn(2500, megabytes) for i in range(100)}
content = {"model": model}
if optimizer:
    content["optimizer"] = {i: {"exp_avg": torch.zeros_like(x), "exp_avg_sq": torch.zeros_like(x)} for i, x in enumerate(model.values())}
torch.save(content, path)
print(torch.__version__)
"""  # noqa: E501
READ = """
import json, sys, time
from pathlib import Path
path, way = Path(sys.argv[1]), sys.argv[2]
if way == "ours":
    from querypose_jax.weights.formats import read_weights
    read = lambda: read_weights(path).tensors
else:
    import torch
    read = lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=way == "torch, mapped")["model"]

def mebibytes(name):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(name))

own, resident, start = mebibytes("RssAnon"), mebibytes("VmRSS"), time.perf_counter()
tensors = read()
there = time.perf_counter() - start
total = sum(float((x if way == "ours" else x.numpy()).sum()) for x in tensors.values())
summed = time.perf_counter() - start
assert total == total
print(json.dumps([there, summed, mebibytes("RssAnon") - own, mebibytes("VmHWM") - resident]))
"""
WAYS = ("ours", "torch", "torch, mapped")


def run(python: str, code: str, *arguments: str) -> str:
    """What a program of these lines prints."""
    done = subprocess.run([python, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default=sys.executable, help="a Python with torch")
    parser.add_argument("--megabytes", type=int, default=180)
    parser.add_argument("--optimizer", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        version = run(options.torch, WRITE, str(path), str(options.megabytes), str(options.optimizer)).strip()
        print(f"torch {version}, {path.stat().st_size / 1e6:.0f} MB, medians of {options.rounds}")
        print(
            "| | s | s with every number added up | own memory, MiB | all memory at most, MiB |\n|---|---|---|---|---|"
        )
        rounds: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, found in rounds.items():
                python = sys.executable if way == "ours" else options.torch
                found.append(json.loads(run(python, READ, str(path), way)))
    for way, found in rounds.items():
        there, summed, own, most = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"| {way} | {there:.2f} | {summed:.2f} | {own:+.0f} | {most:+.0f} |")


if __name__ == "__main__":
    main()
