"""Steps without an update: the loss, a gradient or a running statistic was not finite.

One such step costs nothing but itself. Too many in a row end the run, with what `launch.py --mode=replay` needs to run
the last of them again in DIR/bad_step.json.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.structures import AnyArray
from querypose_jax.training.step import Metrics

NAME = "bad_step.json"


class NonFiniteError(UserError):
    """Losses or gradients of several steps in a row are NaN or infinite: the run stops, the last checkpoint is good."""

    exit_code = 3


class BadSteps:
    """Counts steps without an update, over restarts too: `facts` goes into checkpoints and comes back from them."""

    def __init__(self, directory: Path, limit: int, seed: int, facts: dict[str, Any] | None = None):
        """
        Args:
            directory: of the run; gets bad_step.json.
            limit: so many in a row end the run.
            seed: of the run, for the file.
            facts: of the checkpoint that the run continues from; None at the start.
        """
        self.directory, self.limit, self.seed = directory, limit, seed
        facts = facts or {"total": 0, "in_a_row": []}
        self.total: int = facts["total"]
        self.in_a_row: list[dict[str, Any]] = list(facts["in_a_row"])

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps; JSON-able."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def note(self, step: int, metrics: Metrics, image_ids: AnyArray) -> str | None:
        """Takes note of a step in order; reads one number of a good one.

        Args:
            step: from 1.
            metrics: of the training step.
            image_ids: int [B], this process's part of the batch.

        Returns:
            A line about a skipped step; None for a good one.

        Raises:
            NonFiniteError: it is the last one of too many in a row. In several processes all call this for every
                step, and all raise.
        """
        if not bool(metrics["skipped"]):
            self.in_a_row = []
            return None
        self.total += 1
        self.in_a_row = [*self.in_a_row, {"step": step, "image_ids": of_all_processes(image_ids)}]
        bad = {name: str(float(value)) for name, value in sorted(metrics.items()) if not np.isfinite(float(value))}
        what = ", ".join(f"{name}={value}" for name, value in bad.items()) or "running statistics"
        if len(self.in_a_row) < self.limit:
            return f"step {step}: not finite: {what}; its update is skipped ({self.total} so far)"
        if jax.process_index() == 0:
            content = self.in_a_row[-1] | {"seed": self.seed, "not_finite": bad, "in_a_row": self.in_a_row}
            write_json(self.directory / NAME, content, indent=2)
        raise NonFiniteError(
            f"step {step}: not finite: {what}; skipped {self.limit} in a row (train.max_bad_steps), pictures in "
            f"{self.directory / NAME}; see where by --mode=replay, continue with a lower optimizer.learning_rate"
        )


def last_bad_step(directory: Path) -> int:
    """The step that ended a run; raises UserError where none did."""
    path = directory / NAME
    try:
        return int(json.loads(path.read_text())["step"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: no step has ended this run; name one by --step=N") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name a step by --step=N") from None


def of_all_processes(image_ids: AnyArray) -> list[int]:
    """The whole batch's image ids, in its order."""
    if jax.process_count() > 1:
        image_ids = multihost_utils.process_allgather(np.asarray(image_ids), tiled=True)
    return np.asarray(image_ids).tolist()
