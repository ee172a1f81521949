"""Those who watch a run from Python: `querypose_jax.train(config, workdir, callbacks=[...])`."""

from collections.abc import Sequence
from pathlib import Path

from querypose_jax.errors import UserError

Metrics = dict[str, float]


class Callback:
    """What a run tells while it trains. Override what you want to hear: the methods do nothing here.

    All are called in order, between steps, by process 0 only; training waits for them. One that returns True ends the
    run in good order: within the next steps its state is saved, and the same call continues from there. What a callback
    raises ends the run at once, as any error does.
    """

    def on_step(self, step: int, metrics: Metrics) -> bool | None:
        """A step is done: what metrics.jsonl would have of it (`loss/total`, `grad_norm`, `learning_rate`, ...).

        Called for every step (from 1), up to two steps after it: devices run ahead. Numbers may be NaN; `skipped` is 1
        where they were, and nothing was learnt.
        """

    def on_evaluation(self, step: int, metrics: Metrics) -> bool | None:
        """A step is evaluated: `keypoint/AP` and all else of eval/STEP/metrics.json."""

    def on_checkpoint(self, step: int, folder: Path) -> bool | None:
        """The checkpoint of a step is complete in `folder`. Later ones may take its place (train.keep_last)."""

    def on_end(self, step: int) -> None:
        """The run has ended, as planned or as asked, and stands at `step`. Not called after an error."""


class Callbacks:
    """Tells all callbacks of a run, and remembers whether one asked to end it."""

    def __init__(self, listening: Sequence[Callback] = ()):
        """
        Raises:
            UserError: one of them is no `Callback`.
        """
        for one in listening:
            if not isinstance(one, Callback):
                raise UserError(
                    f"callbacks: {one!r} is none; derive it from querypose_jax.Callback and give an instance"
                )
        self.listening = tuple(listening)
        self.asked_to_end = False

    def on_step(self, step: int, metrics: Metrics) -> None:
        for one in self.listening:
            self._heard(one.on_step(step, dict(metrics)))

    def on_evaluation(self, step: int, metrics: Metrics) -> None:
        for one in self.listening:
            self._heard(one.on_evaluation(step, dict(metrics)))

    def on_checkpoint(self, step: int, folder: Path) -> None:
        for one in self.listening:
            self._heard(one.on_checkpoint(step, folder))

    def on_end(self, step: int) -> None:
        for one in self.listening:
            one.on_end(step)

    def wants_end(self) -> bool:
        """True once a callback has returned True."""
        return self.asked_to_end

    def _heard(self, answer: bool | None) -> None:
        self.asked_to_end |= answer is True


NOBODY = Callbacks()
