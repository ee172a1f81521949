"""What evaluations of a run have left behind: DIR/eval/STEP/metrics.json, written last, says that STEP is evaluated."""

import json
from pathlib import Path

from querypose_jax.errors import UserError

NAME = "metrics.json"


def results_folder(directory: Path, step: int) -> Path:
    """Where the evaluation of a step writes."""
    return directory / "eval" / str(step)


def is_evaluated(directory: Path, step: int) -> bool:
    """True where the evaluation of a step is complete."""
    return (results_folder(directory, step) / NAME).exists()


def read_results(directory: Path, step: int) -> dict[str, float]:
    """The metrics of an evaluated step; raises UserError where the file is no JSON."""
    path = results_folder(directory, step) / NAME
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not a JSON file ({error}); remove it to evaluate the step again") from None


def evaluated_steps(directory: Path) -> list[int]:
    """The steps of a run whose evaluations are complete, ascending."""
    names = (path.parent.name for path in directory.glob(f"eval/*/{NAME}"))
    return sorted(int(name) for name in names if name.isdecimal())
