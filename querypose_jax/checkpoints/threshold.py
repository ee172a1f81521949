"""The score from which a person is reported where nobody says one: that which an evaluation has found best."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from querypose_jax.checkpoints.origin import read_origin
from querypose_jax.checkpoints.results import is_evaluated, read_results
from querypose_jax.models.registry import family_of

RAW = "raw/"  # before the names of what parameters without averaging give


class Threshold(NamedTuple):
    """A threshold that stands where nobody gives one."""

    score: float
    """Class probability x mean joint score, or what the family scores people by."""
    reason: str
    """In words: where it comes from."""

    def line(self) -> str:
        """For a terminal."""
        return f"threshold {self.score:.3g}: {self.reason}"


DEFAULT = Threshold(0.3, "the default, no evaluation has tuned one")


def threshold_of(folder: Path, config: ConfigDict, step: int, raw: bool = False) -> Threshold:
    """The tuned threshold of a checkpoint, else the one of its family; arguments as in `tuned_threshold`."""
    default = f"the default of {config.model.name}, no evaluation has tuned one"
    return tuned_threshold(folder, config, step, raw) or Threshold(family_of(config).threshold, default)


def tuned_threshold(folder: Path, config: ConfigDict, step: int, raw: bool = False) -> Threshold | None:
    """What an evaluation of this step has found best, or what an import has brought along; None where neither is there.

    Args:
        folder: of a run or an import.
        config: of the model.
        step: of the checkpoint.
        raw: of a run that averages its parameters, for those without averaging.
    """
    metrics = read_results(folder, step) if is_evaluated(folder, step) else {}
    prefix = f"{RAW}threshold" if raw and config.train.ema_decay else "threshold"
    if f"{prefix}/score" in metrics:
        (f1, people), split = (metrics[f"{prefix}/{name}"] for name in ("f1", "people")), config.data.eval_split
        there = f"on {people:.0f} people of the split {split} of {config.data.name}"
        reason = f"best F1 ({f1:.2f} at step {step}) {there}; it was tuned there"
        return Threshold(metrics[f"{prefix}/score"], reason)
    brought = (read_origin(folder) or {}).get("threshold")
    return Threshold(float(brought["score"]), str(brought["reason"])) if brought else None
