"""Callbacks hear of every step, evaluation and checkpoint, change nothing, and can end a run; so can patience."""

import json

import pytest

from querypose_jax.checkpoints.checkpoint import find_step, newest_step
from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.training.callbacks import Callback, Callbacks
from querypose_jax.training.loop import train
from querypose_jax.training.patience import ended_by_patience, scores_of
from tests.training.fakes import fake_batches, fake_config


class Listener(Callback):
    """Writes down what it hears; ends the run at a step."""

    def __init__(self, end_at: int = 0):
        self.heard, self.end_at = [], end_at

    def on_step(self, step, metrics):
        self.heard.append(("step", step, metrics["loss/total"]))
        return step == self.end_at

    def on_evaluation(self, step, metrics):
        self.heard.append(("evaluation", step, metrics["keypoint/AP"]))

    def on_checkpoint(self, step, folder):
        assert (folder / "model").is_dir() and folder.name == str(step)
        self.heard.append(("checkpoint", step, None))


def scored(workdir, scores: dict[int, float]):
    """An evaluation with these results, which leaves its file as the real one does."""

    def evaluate(model, step, raw=None):
        metrics = {"keypoint/AP": scores[step]}
        write_json(workdir / "eval" / str(step) / "metrics.json", metrics)
        return metrics

    return evaluate


def losses(workdir) -> dict[int, float]:
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss/total"] for line in lines}


def test_callbacks_hear_of_everything_in_order_and_change_nothing(tmp_path):
    config, listener = fake_config(log_every=1), Listener()
    config.eval.every = 6
    scores = {6: 0.1, 12: 0.2}
    train(config, fake_batches(), tmp_path / "alone", scored(tmp_path / "alone", scores))
    heard = tmp_path / "heard"
    train(config, fake_batches(), heard, scored(heard, scores), callbacks=Callbacks([listener]))
    assert losses(heard) == losses(tmp_path / "alone")
    assert {step: loss for kind, step, loss in listener.heard if kind == "step"} == losses(heard)
    assert [fact[:2] for fact in listener.heard if fact[0] != "step"] == [
        ("checkpoint", 5), ("checkpoint", 6), ("evaluation", 6), ("checkpoint", 10), ("checkpoint", 12),
        ("evaluation", 12),
    ]  # fmt: skip
    assert listener.heard.index(("checkpoint", 6, None)) == 6 + 1  # after the steps 1 to 6 and one checkpoint


def test_a_callback_ends_a_run_which_continues_to_the_bit(tmp_path):
    config = fake_config(log_every=1)
    train(config, fake_batches(), tmp_path / "whole")
    told = Callbacks([Callback(), Listener(end_at=4)])
    state = train(config, fake_batches(), tmp_path / "parts", stop=told.wants_end, callbacks=told)
    assert 4 <= int(state.step) <= 7 and newest_step(tmp_path / "parts") == int(state.step)
    train(config, fake_batches(), tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_what_is_no_callback_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"^callbacks: .* is none; derive it from querypose_jax.Callback"):
        Callbacks([print])


@pytest.mark.parametrize(
    ("scores", "patience", "ends"),
    [
        ({}, 1, False),
        ({3: 0.0}, 1, False),
        ({3: 0.2, 6: 0.1}, 1, True),
        ({3: 0.2, 6: 0.2}, 1, True),  # as good is no better
        ({3: 0.2, 6: 0.1, 9: 0.3}, 2, False),
        ({9: 0.1, 3: 0.3, 6: 0.2}, 2, True),  # in whatever order files are found
        ({3: 0.2, 6: 0.1, 9: 0.1}, 0, False),
    ],
)
def test_patience_counts_evaluations_since_the_first_best_one(scores, patience, ends):
    assert bool(ended_by_patience(scores, patience)) == ends


def test_a_run_out_of_patience_ends_after_an_evaluation_and_does_not_begin_again(tmp_path):
    config = fake_config(patience=2)
    config.eval.every = 2
    scores = {2: 0.1, 4: 0.3, 6: 0.2, 8: 0.3, 10: 0.5, 12: 0.4}
    for _ in range(2):
        assert int(train(config, fake_batches(), tmp_path, scored(tmp_path, scores)).step) == 8
        assert find_step(tmp_path) == 8
    said = (
        "ended at step 8: keypoint/AP has not risen in 2 evaluations (train.patience); the best, 0.300, was at step 4"
    )
    assert ended_by_patience(scores_of(tmp_path), 2) == said
    config.train.patience = 3
    assert int(train(config, fake_batches(), tmp_path, scored(tmp_path, scores)).step) == 12
