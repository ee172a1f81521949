"""What evaluations of a run have left behind: DIR/eval/STEP/metrics.json, written last, says that STEP is evaluated."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from querypose_jax.errors import UserError

NAME = "metrics.json"


def results_folder(directory: Path, step: int) -> Path:
    """Where the evaluation of a step writes."""
    return directory / "eval" / str(step)


def plain_evaluation(config: ConfigDict) -> ConfigDict:
    """The configuration for evaluations during training: data.eval_split, all of it, not mirrored: steps compare."""
    config = config.copy_and_resolve_references()
    config.eval.update(split="", flip=False, image_filter="all")
    return config


def evaluation_folder(config: ConfigDict, workdir: Path, step: int) -> Path:
    """WORKDIR/eval/STEP, with a folder in it for another split, one for some pictures only, one for mirrored ones."""
    split = "" if config.eval.split == config.data.eval_split else config.eval.split
    pictures = "" if config.eval.image_filter == "all" else config.eval.image_filter
    return results_folder(workdir, step) / split / pictures / ("flip" if config.eval.flip else "")


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
