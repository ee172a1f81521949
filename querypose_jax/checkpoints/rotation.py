"""The checkpoints of a run: which of them are kept, and what a start that was killed left behind.

A folder named by a step is always whole: it gets this name when everything is written, and loses it before anything is
deleted.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

import querypose_jax
from querypose_jax.checkpoints.checkpoint import (
    FOLDER,
    finished_steps,
    named_leaves,
    newest_step,
    open_manager,
    read_about,
    restore_state,
)
from querypose_jax.checkpoints.disk import refusal, told_where
from querypose_jax.checkpoints.results import evaluated_steps, read_results
from querypose_jax.checkpoints.train_state import TrainState
from querypose_jax.errors import UserError

BEST_BY = "keypoint/AP"
DELETED = "deleted"  # in FOLDER; what is superfluous is moved here in one piece, then deleted


class Checkpoints:
    """The checkpoints of a run: the newest `keep_last` and the one with the best keypoint AP. Use as a context.

    Saving returns as soon as the arrays are copied from the device; leaving the context waits for the files. A
    checkpoint is evaluated after it is written: its score is told by `rank`, those of earlier starts are read from
    DIR/eval. What is superfluous goes when the next one is complete; what a killed start has left half written or
    half deleted goes when it is opened.

    A file that cannot be written (disk full, read-only) is a UserError of `save`, `wait` or the end of the context; the
    checkpoints before stay.
    """

    def __init__(self, directory: Path, keep_last: int = 1):
        self.directory = directory
        self.scores: dict[int, float] = {}
        for step in evaluated_steps(directory):
            self.rank(step, read_results(directory, step))
        keep = checkpoint_managers.AnyPreservationPolicy(
            [checkpoint_managers.LatestN(keep_last), KeepBest(self.scores)]
        )
        with told_where(directory / FOLDER, "mend or name another workdir"):
            self._set_aside(keep_last)
            self.manager = open_manager(
                directory,
                ocp.CheckpointManagerOptions(
                    preservation_policy=keep, cleanup_tmp_directories=True, todelete_subdir=DELETED
                ),
            )
            self._delete()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            with self._told():
                self.manager.close()  # waits
                self._delete()
        except UserError:
            if error is None:  # else something else ended the run, or this is told already
                raise

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint, None where there is none."""
        return self.manager.latest_step()

    def save(self, state: TrainState, about: dict[str, Any]) -> None:
        """Starts to write the state under its step.

        Args:
            state: what to write; it may be donated to the next step right after.
            about: JSON-able facts that `about` gives back.
        """
        self.wait()
        step = int(state.step)
        about = about | {"step": step, "code_version": querypose_jax.__version__}
        items = {"model": state.model, "training": state.opt_state}
        if state.ema is not None:
            items["ema"] = state.ema
        arrays = {item: ocp.args.StandardSave(named_leaves(tree)) for item, tree in items.items()}
        with self._told():
            self.manager.save(step, args=ocp.args.Composite(**arrays, about=ocp.args.JsonSave(about)))

    def wait(self) -> None:
        """Returns when everything that was saved is on disk, and what it made superfluous is not."""
        with self._told():
            self.manager.wait_until_finished()
            self._delete()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if (reason := refusal(error)) is None:
                raise
            step = newest_step(self.directory)  # on disk: the manager counts the one that failed
            last = "no checkpoint is there yet" if step is None else f"the checkpoint of step {step} is good"
            raise UserError(
                f"{self.directory / FOLDER}: cannot be written ({reason}); {last}; make room or mend the folder, and "
                "continue"
            ) from None

    def _set_aside(self, keep_last: int) -> None:
        """What an earlier start had no time to delete: one that was killed right after a checkpoint was complete."""
        steps = finished_steps(self.directory)
        best = best_step(steps, self.scores)
        superfluous = [step for step in steps[:-keep_last] if step != best]
        if jax.process_index() == 0 and superfluous:
            deleted = self.directory / FOLDER / DELETED
            deleted.mkdir(exist_ok=True)
            for step in superfluous:
                (self.directory / FOLDER / str(step)).rename(deleted / str(step))

    def _delete(self) -> None:
        if jax.process_index() == 0 and (folder := self.directory / FOLDER / DELETED).exists():
            shutil.rmtree(folder)

    def rank(self, step: int, metrics: dict[str, float]) -> None:
        """Takes note of what an evaluation of a step has found."""
        if BEST_BY in metrics:
            self.scores[step] = metrics[BEST_BY]

    def about(self) -> dict[str, Any]:
        """The facts that were saved with the newest checkpoint."""
        return read_about(self.manager, self.latest_step)

    def restore(self, state: TrainState) -> TrainState:
        """The newest checkpoint, placed on the devices as `state` is.

        Raises:
            UserError: it belongs to another model, or holds imported weights without an optimizer's state.
        """
        return restore_state(self.manager, self.latest_step, state, self.directory)


class KeepBest(checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoint with the highest score so far, the later one of equals; `scores` grows meanwhile."""

    def __init__(self, scores: dict[int, float]):
        self.scores = scores

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One answer per checkpoint."""
        best = best_step([c.step for c in checkpoints], self.scores)
        return [c.step == best for c in checkpoints]


def best_step(steps: Sequence[int], scores: dict[int, float]) -> int | None:
    """The step with the highest score, the later one of equals; None where none has a score."""
    return max(((scores[step], step) for step in steps if step in scores), default=(0, None))[1]
