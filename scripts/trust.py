"""What every family survives: a table of families and failures, filled cell by cell.

    python scripts/trust.py [--cells=edpose/killed,...] [--again] [--table]

Every cell trains the family's tiny run (tests/tiny_family.py), lets something happen to it and compares with a run to
which it did not happen. Finished cells are kept in scripts/trust.json and not run again, whatever they found, unless
--again; a run that is stopped goes on where it was. --table prints them and runs nothing.

    killed       SIGKILL in the write of a checkpoint, in an evaluation, at a step and in the first seconds; SIGTERM. To
                 the bit: losses, parameters, averages, moments, what is drawn in a step, targets made on the device
    processes    either of two processes killed; to the bit
    devices      FSDP and ZeRO-1 on eight devices against one, in float64, with a step that is not finite and a batch of
                 nobody among them; a checkpoint of eight devices goes on with four and with one
    bfloat16     a thousand steps without one that is not finite

What no family can change is run once: a disk that is full or becomes read-only (checkpoints are arrays with names), and
SIGTERM for one of two processes (they agree on a step before anything of a model is asked).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from querypose_jax.files import write_json  # noqa: E402
from scripts import kill_processes, kill_training, long_bfloat16  # noqa: E402
from tests.multi_device.together import FAST, run_together  # noqa: E402
from tests.tiny_family import FAMILIES  # noqa: E402

RESULTS = ROOT / "scripts" / "trust.json"
ROUNDING = 1e-8  # relative, of five steps in float64
PATIENCE_S = 3600  # for the devices of a family, of whose time most is the compiler's
STEPS = {"killed": 32, "processes": 14, "bfloat16": 1000}
ONCE = {
    "full disk": "tests/checkpoints/test_disk.py",
    "SIGTERM for one of two": "tests/multi_device/test_processes.py::"
    "test_sigterm_for_one_of_two_processes_saves_and_ends_both",
}


def killed(config: str, folder: Path) -> dict:
    return kill_training.survive(kill_training.Run(config, folder, STEPS["killed"]), len(kill_training.KINDS), seed=0)


def processes(config: str, folder: Path) -> dict:
    return kill_processes.survive(config, folder, kills=2, steps=STEPS["processes"], seed=0)


def devices(config: str, folder: Path) -> dict:
    command = ["-m", "tests.multi_device.families", config.partition(":")[2], str(folder)]
    runs = json.loads(run_together(lambda port, process: command, 1, 8, FAST, PATIENCE_S).splitlines()[-1])
    differs = []
    for name, run in runs.items():
        differs += [] if run["skipped"] == [2] else [f"{name}: steps {run['skipped']} were skipped, not [2]"]
        differs += [f"{name}: the bad step changed {array}" for array in run["changed_by_bad_step"]]
        differs += [f"{name}: {array} is another after a checkpoint" for array in run.get("lost_in_checkpoints", ())]
        for kind in ("losses", "arrays"):
            if not run[f"{kind}_differ_by"] < ROUNDING:
                differs.append(f"{name}: {kind} differ by {run[f'{kind}_differ_by']:.1e}, {run['most']} the most")
    return {"runs": runs, "differs": differs}


def bfloat16(config: str, folder: Path) -> dict:
    return long_bfloat16.survive(config, folder, STEPS["bfloat16"])


CHECKS: dict[str, Callable[[str, Path], dict]] = {
    "devices": devices,
    "killed": killed,
    "processes": processes,
    "bfloat16": bfloat16,
}


def tested(name: str) -> dict:
    """Runs a test that stands for all families; one that is skipped has shown nothing."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ONCE[name]]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
    said = done.stdout.strip().splitlines()
    is_good = done.returncode == 0 and "passed" in said[-1] and "skipped" not in said[-1]
    return {"test": ONCE[name], "said": said[-1], "differs": [] if is_good else said[-5:]}


def run_cell(name: str) -> dict:
    """What a cell found, how long it took, and which code it was."""
    began = time.monotonic()
    family, _, check = name.rpartition("/")
    with tempfile.TemporaryDirectory() as folder:
        found = CHECKS[check](f"tests/tiny_family.py:{family}", Path(folder)) if family else tested(name)
    version = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return found | {"seconds": round(time.monotonic() - began), "commit": version.stdout.strip()}


def line(name: str, cell: dict) -> str:
    """A cell in words."""
    good = "as without" if not cell["differs"] else f"{len(cell['differs'])} differ, first: {cell['differs'][0]}"
    return f"{name}: {good}; {cell['seconds']} s"


def table(cells: dict[str, dict]) -> str:
    """The cells of families as Markdown."""
    rows = [["", *FAMILIES], ["---"] * (len(FAMILIES) + 1)]
    for check, said in SAID.items():
        found = [cells.get(f"{family}/{check}") for family in FAMILIES]
        rows.append([check, *("not run" if c is None else said(c) if not c["differs"] else "differs" for c in found)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def said_killed(cell: dict) -> str:
    return f"{sum(cell['kills'].values())} kills, {cell['arrays']} arrays, {cell['lines']} lines equal to the bit"


def said_processes(cell: dict) -> str:
    return f"{len(cell['kills'])} kills, {cell['arrays']} arrays equal to the bit"


def said_devices(cell: dict) -> str:
    return f"largest difference {max(run['arrays_differ_by'] for run in cell['runs'].values()):.0e}"


def said_bfloat16(cell: dict) -> str:
    return f"{cell['steps']} steps, {cell['skipped']} skipped"


SAID = {"killed": said_killed, "processes": said_processes, "devices": said_devices, "bfloat16": said_bfloat16}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*ONCE, *(f"{family}/{check}" for check in CHECKS for family in FAMILIES)]
    parser.add_argument("--cells", default=",".join(every))
    parser.add_argument("--again", action="store_true", help="finished ones too")
    parser.add_argument("--table", action="store_true", help="print what was found")
    options = parser.parse_args()
    names = options.cells.split(",")
    if unknown := set(names) - set(every):
        parser.error(f"no cell {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    cells = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.table:
        print(table(cells))
        return 0
    for name in names:
        if options.again or name not in cells:
            cells[name] = run_cell(name)
            write_json(RESULTS, {name: cells[name] for name in every if name in cells}, indent=1)
        print(line(name, cells[name]), flush=True)
    return int(any(cells[name]["differs"] for name in names))


if __name__ == "__main__":
    sys.exit(main())
