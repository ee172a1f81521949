"""A file of full size for every published model of the goldens: recognised, imported and run, without torch.

    QUERYPOSE_GOLDEN=/path/to/golden python scripts/every_model.py [--photo=photo.jpg] [--torch=/path/to/python]
        [--only=grouppose] [--folder=/path/with/space] [--config.data.eval_short_side=256 ...]

The numbers are the goldens' generated ones, the names and shapes those of their manifests. The tests' own writer writes
each file; each command is a process of its own in which torch cannot be imported, with empty caches. Prints a row per
model: parameters and size, then seconds on the clock, seconds of processor and most memory of the import, the same of
`--mode=predict` on the photo (import found, program compiled, threshold 0), and how many people came out.

--torch names a Python that has torch. It reads the file and writes it anew as trainings do (WRAPPINGS, by turns); that
import must have the same numbers. Without --photo nothing is run; further arguments go to predict.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the script runs in a clone

from querypose_jax.checkpoints.config_json import read_config  # noqa: E402
from querypose_jax.weights.recognise import released_config  # noqa: E402
from tests.parity import goldens  # noqa: E402
from tests.weights import torch_files  # noqa: E402
from tests.weights.manifests import PUBLISHED, shapes_of  # noqa: E402

WITHOUT_TORCH = 'import sys; sys.modules["torch"] = None; '  # importing it is an error then
COMMANDS = {
    "weights": WITHOUT_TORCH + "from querypose_jax.weights.command import main; sys.exit(main(sys.argv))",
    "predict": WITHOUT_TORCH + "import launch; launch.whole_process(sys.argv)",
    # SHA-256 of all numbers of an import, after a rounding to the precision that the file was written in
    "digest": """
import hashlib, ml_dtypes, numpy as np, sys
from pathlib import Path
from querypose_jax.checkpoints.checkpoint import load_model, named_leaves
found = hashlib.sha256()
for name, x in sorted(named_leaves(load_model(Path(sys.argv[1]))[2]).items()):
    found.update(name.encode() + np.asarray(x).astype(sys.argv[2]).astype("float32").tobytes())
print(found.hexdigest())
""",
}
WRAPPINGS = {  # name -> what is saved, the precision
    "ema_model, optimizer, epoch": ("{'ema_model': model, 'optimizer': optimizer, 'epoch': 59}", "float32"),
    "module. in model_state_dict": ("{'epoch': 77, 'model_state_dict': module, 'amp': {'scale': 2.0}}", "float32"),
    "model beside ema_model": ("{'model': model, 'ema_model': other, 'optimizer': optimizer, 'args': args}", "float32"),
    "half in state_dict": ("{'state_dict': each(model, torch.Tensor.half), 'epoch': 3}", "float16"),
    "parameters, nothing around": ("each(model, torch.nn.Parameter)", "float32"),
    "bfloat16 with module.": ("each(module, torch.Tensor.bfloat16)", "bfloat16"),
}
REWRITE = """
import argparse, collections, sys, torch
read = torch.load(sys.argv[1], map_location="cpu", weights_only=True, mmap=True)["model"]
model = collections.OrderedDict(read)
model._metadata = collections.OrderedDict({"": {"version": 1}})  # as Module.state_dict() brings
module = collections.OrderedDict((f"module.{name}", x) for name, x in model.items())
floats = [x for x in model.values() if x.is_floating_point()]
each = lambda named, change: {name: change(x) if x.is_floating_point() else x for name, x in named.items()}
args = argparse.Namespace(lr=1e-4, modelname="x")
other = {name: x + 1 for name, x in list(model.items())[:10]}
parameters = [torch.nn.Parameter(x.clone()) for x in floats[:10]]
adam = torch.optim.AdamW(parameters, lr=1e-4)
sum(x.sum() for x in parameters).backward()
adam.step()
optimizer = adam.state_dict()
torch.save(%s, sys.argv[2])
"""


class Cost(NamedTuple):
    """Of a process: pages of mapped files count as memory."""

    seconds: float
    processor: float
    gibibytes: float

    def cells(self) -> str:
        return f"{self.seconds:.0f} | {self.processor:.0f} | {self.gibibytes:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--torch", help="a Python with torch")
    parser.add_argument("--only", default="", help="regular expression, found in the configuration's name")
    parser.add_argument("--folder", type=Path, help="for the files: up to 6 GiB, of which nothing stays")
    options, rest = parser.parse_known_args()
    print("| configuration | M | file MB | import s | processor s | GiB | predict s | processor s | GiB | people |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for turn, (manifests, (file, config)) in enumerate(PUBLISHED.items()):
        if re.search(options.only, config):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                print(row(Path(folder), manifests, file, config, options.photo, rest), flush=True)
                if options.torch:
                    wrapping = list(WRAPPINGS)[turn % len(WRAPPINGS)]
                    print(of_torch(Path(folder), file, wrapping, options.torch), file=sys.stderr, flush=True)


def row(folder: Path, manifests: tuple[str, ...], file: str, config: str, photo: Path | None, rest: list[str]) -> str:
    """Writes the file of these manifests, imports it and predicts; exits where it is taken for something else."""
    path = folder / file
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # its memory would count as that of later processes
        millions = pool.submit(write, path, manifests).result()
    cost, _ = run("weights", folder, f"--input={path}")
    (found,) = imports(folder)
    if read_config(found) != released_config(config):
        sys.exit(f"{manifests}: not recognised as {config}: {found / 'import.json'}")
    cells = [config, f"{millions:.1f}", f"{path.stat().st_size / 1e6:.0f}", cost.cells()]
    if photo is None:
        cells.append("- | - | - | -")
    else:
        output = folder / "poses"
        given = f"--weights={path}", f"--input={photo}", f"--output={output}", "--threshold=0"
        cost, _ = run("predict", folder, "--mode=predict", *given, *rest)
        people = json.loads((output / "predictions.json").read_text())
        cells += [cost.cells(), str(len(people))]
    return f"| {' | '.join(cells)} |"


def write(path: Path, manifests: tuple[str, ...]) -> float:
    """Writes the state dict of these manifests, copies included; returns how many million numbers it has."""
    shapes, again = shapes_of(manifests)
    state = goldens.weights().make_all(shapes)
    millions = sum(x.size for x in state.values()) / 1e6
    torch_files.save_to(path, {"model": state | {copy: state[first] for copy, first in again.items()}, "epoch": 59})
    return millions


def of_torch(folder: Path, file: str, wrapping: str, python: str) -> str:
    """Has torch write the file anew, imports that, and compares all numbers; exits where they differ."""
    content, precision = WRAPPINGS[wrapping]
    (ours,) = imports(folder)
    expected = run("digest", folder, str(ours), precision)[1]
    shutil.rmtree(ours)
    (folder / "torch").mkdir()
    again = folder / "torch" / file
    done = subprocess.run([python, "-c", REWRITE % content, str(folder / file), str(again)], cwd=ROOT)
    if done.returncode:
        sys.exit(f"{python} did not write {wrapping}")
    (folder / file).unlink()
    cost, said = run("weights", folder, f"--input={again}")
    (theirs,) = imports(folder)
    if run("digest", folder, str(theirs), "float32")[1] != expected:
        sys.exit(f"{file}, {wrapping}: the import has other numbers than that of the tests' writer")
    beside = next((line for line in said.splitlines() if line.startswith("not read")), "nothing beside")
    return (
        f"  {wrapping}: {again.stat().st_size / 1e6:.0f} MB, imported in {cost.seconds:.0f} s, same numbers; {beside}"
    )


def run(command: str, folder: Path, *arguments: str) -> tuple[Cost, str]:
    """A command in a process of its own with caches in `folder`: what it cost and said. Exits where it fails."""
    start = time.perf_counter()
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    with (folder / "said").open("w+") as said:
        child = subprocess.Popen(
            [sys.executable, "-c", COMMANDS[command], *arguments], cwd=ROOT, env=environment, stdout=said
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        said.seek(0)
        text = said.read()
    if child.returncode:
        sys.exit(f"{command} {' '.join(arguments)} failed:\n{text}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20), text


def imports(folder: Path) -> list[Path]:
    """The imports in the cache."""
    return list((folder / "cache" / "querypose_jax" / "weights").iterdir())


if __name__ == "__main__":
    main()
