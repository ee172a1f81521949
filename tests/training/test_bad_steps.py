"""A step that is not finite changes nothing; several in a row end the run with what a replay needs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.checkpoints.checkpoint import find_step
from querypose_jax.checkpoints.train_state import init_state
from querypose_jax.devices import sharding
from querypose_jax.errors import UserError
from querypose_jax.training.bad_steps import BadSteps, NonFiniteError, last_bad_step
from querypose_jax.training.loop import train
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_train_step
from tests.training.fakes import FakeModel, fake_batches, fake_config
from tests.training.test_loop import lines


class BadStatistics(FakeModel):
    """Its losses and gradients are finite, its running mean is not."""

    def __call__(self, batch, train=False, key=None):
        outputs = super().__call__(batch, train)
        self.norm.mean[...] = self.norm.mean[...] + jnp.where(batch.boxes.max() > 1e6, jnp.inf, 0)
        return outputs

    def loss(self, outputs, batch):
        total, terms = FakeModel.loss(self, outputs, batch)
        return jnp.minimum(total, 1e3), terms


def steps_of(model: nnx.Module, batches: list, ema_decay: float = 0.0):
    """States (numpy) before and after each batch, and the metrics."""
    config = fake_config()
    mesh = sharding.make_mesh(config.mesh)
    optimizer = make_optimizer(config.optimizer, 12)
    graphdef, state = init_state(model, optimizer, averages=ema_decay > 0)
    schedule = learning_rate(config.optimizer, 12)
    step = make_train_step(graphdef, optimizer, schedule, mesh, ema_decay=ema_decay)
    states, found = [jax.tree.map(np.array, state)], []
    with jax.set_mesh(mesh):
        state = sharding.replicate(state, mesh)
        for batch in batches:
            state, metrics = step(state, sharding.put_batch(batch, mesh))
            states.append(jax.tree.map(np.array, state))
            found.append(jax.device_get(metrics))
    return states, found


def first_batches(count: int, value: float, index: int):
    source = fake_batches()(0)
    batches = [next(source) for _ in range(count)]
    batches[index].boxes[0] = value
    return batches


@pytest.mark.parametrize(("model", "value"), [(FakeModel, np.nan), (FakeModel, np.inf), (BadStatistics, 1e9)])
def test_a_step_that_is_not_finite_changes_neither_parameters_nor_moments_nor_statistics(model, value):
    (_, before, after, last), metrics = steps_of(model(nnx.Rngs(0)), first_batches(3, value, 1))
    assert [bool(one["skipped"]) for one in metrics] == [False, True, False]
    jax.tree.map(np.testing.assert_array_equal, (before.params, before.rest), (after.params, after.rest))
    (_, adam, _, rate), _ = before.opt_state
    assert (int(adam.count), int(rate.count)) == (1, 1)
    (_, kept, _, moved), _ = after.opt_state
    jax.tree.map(np.testing.assert_array_equal, adam, kept)
    assert int(after.step) == int(moved.count) == 2  # the learning rate goes by steps
    assert int(last.opt_state[0][1].count) == 2
    assert (last.params["flow"]["kernel"][...] != before.params["flow"]["kernel"][...]).any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))


def poisoned_batches(bad: set[int]):
    """Batches by step, those of `bad` (from 1) with a NaN and ids of their own."""

    def batches(start_step: int):
        for step, batch in enumerate(fake_batches()(start_step), start_step + 1):
            batch.image_id[:] = 10 * step + np.arange(4)
            if step in bad:
                batch.boxes[0] = np.nan
            yield batch

    return batches


def test_a_run_skips_a_bad_step_says_so_counts_it_and_continues_to_the_bit(tmp_path, capsys):
    bad = {2, 5, 6, 9}
    config = fake_config(log_every=1, checkpoint_every=5, max_bad_steps=3)
    whole = train(config, poisoned_batches(bad), tmp_path / "whole")
    assert "step 5: not finite: loss/l1=nan, loss/total=nan; its update is skipped" in (capsys.readouterr().out)
    logged = lines(tmp_path / "whole")
    assert [line["skipped_steps"] for line in logged] == [0, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 4]
    assert [line["step"] for line in logged if "loss/total" not in line] == sorted(bad)
    assert "NaN" not in (tmp_path / "whole" / "metrics.jsonl").read_text()

    calls = iter(range(5))
    train(config, poisoned_batches(bad), tmp_path / "parts", stop=lambda: next(calls) == 4)  # ends after a bad step
    parts = train(config, poisoned_batches(bad), tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    without_clock = [
        [{k: v for k, v in line.items() if "second" not in k} for line in lines(tmp_path / name)]
        for name in ("whole", "parts")
    ]
    assert without_clock[0] == without_clock[1]


def test_too_many_in_a_row_end_the_run_with_pictures_step_and_seed_and_count_over_restarts(tmp_path):
    config = fake_config(num_steps=50, checkpoint_every=5, max_bad_steps=3)
    config.train.seed = 77
    with pytest.raises(NonFiniteError, match=r"^step 6: not finite: .*loss/total=nan; skipped 3 in a row"):
        train(config, poisoned_batches({4, 5, 6}), tmp_path)
    assert find_step(tmp_path) == 5
    assert max(line["step"] for line in lines(tmp_path)) < 6
    written = json.loads((tmp_path / "bad_step.json").read_text())
    assert (written["step"], written["seed"], written["image_ids"]) == (6, 77, [60, 61, 62, 63])
    assert [bad["step"] for bad in written["in_a_row"]] == [4, 5, 6]
    assert last_bad_step(tmp_path) == 6

    with pytest.raises(NonFiniteError, match=r"^step 6: .*; skipped 3 in a row"):  # two of them before the restart
        train(config, poisoned_batches({4, 5, 6}), tmp_path)
    train(config, poisoned_batches({4, 5}), tmp_path)


def test_a_good_step_costs_one_number_and_begins_the_count_anew(tmp_path):
    bad = BadSteps(tmp_path, limit=2, seed=0)
    read = []

    class Watched(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    ids = np.arange(4)
    assert bad.note(1, {"skipped": True, "loss/total": np.nan}, ids)
    assert bad.note(2, Watched({"skipped": False, "loss/total": 1.0}), ids) is None
    assert read == ["skipped"]
    assert bad.note(3, {"skipped": True, "loss/total": np.nan}, ids)
    assert bad.facts == {"total": 2, "in_a_row": [{"step": 3, "image_ids": [0, 1, 2, 3]}]}
    with pytest.raises(NonFiniteError):
        BadSteps(tmp_path, 2, 0, bad.facts).note(4, {"skipped": True, "loss/total": np.inf}, ids)


def test_a_missing_or_broken_file_asks_for_the_step(tmp_path):
    with pytest.raises(UserError, match="no step has ended this run; name one by --step=N"):
        last_bad_step(tmp_path)
    (tmp_path / "bad_step.json").write_text("{")
    with pytest.raises(UserError, match="bad_step.json: cannot be read .*--step=N"):
        last_bad_step(tmp_path)
