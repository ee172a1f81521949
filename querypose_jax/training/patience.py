"""Early stopping: training ends when evaluations no longer get better.

What decides is what evaluations have left on disk, so a run that is continued ends where an uninterrupted one would.
"""

from collections.abc import Mapping
from pathlib import Path

from querypose_jax.checkpoints.results import evaluated_steps, read_results
from querypose_jax.checkpoints.rotation import BEST_BY


def scores_of(workdir: Path) -> dict[int, float]:
    """Step -> keypoint AP of every evaluation of a run."""
    found = {step: read_results(workdir, step) for step in evaluated_steps(workdir)}
    return {step: metrics[BEST_BY] for step, metrics in found.items() if BEST_BY in metrics}


def ended_by_patience(scores: Mapping[int, float], patience: int) -> str:
    """Why training ends, in a line; "" where it goes on.

    Args:
        scores: step -> score, see `scores_of`. One that equals the best so far is no better.
        patience: so many evaluations in a row without a better one end it; 0: never.
    """
    steps = sorted(scores)
    best = max(steps, key=lambda step: scores[step], default=0)  # the first of equals
    since = sum(step > best for step in steps)
    if patience == 0 or since < patience:
        return ""
    return (
        f"ended at step {steps[-1]}: {BEST_BY} has not risen in {since} evaluations (train.patience); the best, "
        f"{scores[best]:.3f}, was at step {best}"
    )
