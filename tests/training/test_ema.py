"""Moving averages of parameters: their numbers, their life in a run, and who gets them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.checkpoints.checkpoint import find_step, load_arrays, load_model, named_leaves
from querypose_jax.checkpoints.train_state import first_average
from querypose_jax.files import write_json
from querypose_jax.training.build import new_state
from querypose_jax.training.loop import train
from querypose_jax.training.step import moved_average
from tests.training.fakes import FakeModel, fake_batches, fake_config
from tests.training.test_bad_steps import first_batches, poisoned_batches, steps_of


def equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_averages_are_those_worked_out_by_hand_and_a_bad_step_leaves_them_alone():
    states, metrics = steps_of(FakeModel(nnx.Rngs(0)), first_batches(6, np.nan, 3), ema_decay=0.75)
    assert [bool(one["skipped"]) for one in metrics] == [False, False, False, True, False, False]
    params = [named_leaves(state.params) for state in states]
    by_hand = {name: p.astype(np.float64) for name, p in params[0].items()}
    equal(states[0].ema, states[0].params)
    for number, (state, one) in enumerate(zip(states[1:], metrics, strict=True), 1):
        if not one["skipped"]:
            by_hand = {name: average + 0.25 * (params[number][name] - average) for name, average in by_hand.items()}
        for name, average in named_leaves(state.ema).items():
            np.testing.assert_allclose(average, by_hand[name], rtol=1e-6, atol=1e-9, err_msg=f"{name}, step {number}")
    equal(states[3].ema, states[4].ema)
    moved = [name for name, average in named_leaves(states[-1].ema).items() if (average != params[-1][name]).any()]
    assert len(moved) == len(params[0])


def test_averaging_changes_nothing_else():
    batches = first_batches(4, np.nan, 2)
    (*_, plain), _ = steps_of(FakeModel(nnx.Rngs(0)), batches)
    (*_, averaging), _ = steps_of(FakeModel(nnx.Rngs(0)), batches, ema_decay=0.9)
    assert plain.ema is None and plain.averaged is None
    equal((plain.params, plain.rest, plain.opt_state), (averaging.params, averaging.rest, averaging.opt_state))


def test_running_statistics_and_frozen_weights_are_not_averaged():
    (*_, last), _ = steps_of(FakeModel(nnx.Rngs(0)), first_batches(3, 0.0, 0), ema_decay=0.9)
    averages, rest = nnx.split_state(last.averaged, nnx.Param, ...)
    equal(averages, last.ema)
    equal(rest, last.rest)
    assert len(jax.tree.leaves(averages)) == len(jax.tree.leaves(last.params))


def test_averages_of_half_precision_are_kept_in_float32():
    params = nnx.State({"kernel": nnx.Param(jnp.ones((2, 2), jnp.bfloat16))})
    average = first_average(jax.tree.map(jnp.zeros_like, params))
    for _ in range(100):
        average = moved_average(average, params, 0.9997)
    kernel = average["kernel"][...]
    assert kernel.dtype == jnp.float32
    np.testing.assert_allclose(kernel, 1 - 0.9997**100, rtol=1e-4)  # bfloat16 would lose the later steps


def test_without_averaging_states_and_checkpoints_hold_nothing_new(tmp_path):
    state = train(fake_config(num_steps=2), fake_batches(), tmp_path)
    assert state.ema is None
    assert not any(name.startswith("ema") for name in load_arrays(tmp_path))
    assert {path.name for path in (tmp_path / "checkpoints" / "2").iterdir() if path.is_dir()} == {
        "model", "training", "about"
    }  # fmt: skip


def test_a_continued_run_has_the_averages_of_an_uninterrupted_one_to_the_bit(tmp_path):
    config = fake_config(ema_decay=0.8, log_every=1)
    whole = train(config, poisoned_batches({3, 7}), tmp_path / "whole")
    calls = iter(range(12))
    train(config, poisoned_batches({3, 7}), tmp_path / "parts", stop=lambda: next(calls) == 6)  # after a bad step
    assert find_step(tmp_path / "parts") == 7
    parts = train(config, poisoned_batches({3, 7}), tmp_path / "parts")
    equal(whole, parts)
    saved = load_arrays(tmp_path / "parts")
    for name, average in named_leaves(whole.ema).items():
        np.testing.assert_array_equal(saved[f"ema.{name}"], average, err_msg=name)


def test_averages_begin_where_they_are_first_wanted(tmp_path):
    before = train(fake_config(num_steps=5), fake_batches(), tmp_path)
    params = jax.tree.map(np.array, before.params)
    after = train(fake_config(num_steps=6, ema_decay=0.5), fake_batches(), tmp_path)
    jax.tree.map(
        lambda e, old, new: np.testing.assert_allclose(e, (old + new) / 2, rtol=1e-5, atol=1e-9),
        after.ema, params, after.params,
    )  # fmt: skip
    assert train(fake_config(num_steps=7), fake_batches(), tmp_path).ema is None


def test_evaluations_get_both_models_and_the_averaged_one_decides_which_checkpoint_is_the_best(tmp_path):
    found = {}

    def evaluate(model, step, raw=None):
        found[step] = jax.tree.map(np.array, (model, raw))
        scores = {"keypoint/AP": 1 - abs(step - 6) / 10, "raw/keypoint/AP": 1 - abs(step - 9) / 10}
        write_json(tmp_path / "eval" / str(step) / "metrics.json", scores)
        return scores

    config = fake_config(ema_decay=0.8, keep_last=1)
    config.eval.every = 3
    last = train(config, fake_batches(), tmp_path, evaluate)
    equal(found[12], (last.averaged, last.model))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["12", "6"]
    equal(load_model(tmp_path, 6)[2], found[6][0])
    equal(load_model(tmp_path, 6, raw=True)[2], found[6][1])


@pytest.mark.parametrize("raw", [False, True])
def test_a_run_starts_from_the_averages_of_another_unless_told(tmp_path, raw):
    donor = train(fake_config(num_steps=3, ema_decay=0.8), fake_batches(), tmp_path / "donor")
    config = fake_config(num_steps=1, ema_decay=0.5)
    config.init_from, config.init_raw = str(tmp_path / "donor"), raw
    config.optimizer.learning_rate = 0.0
    state = train(config, fake_batches(), tmp_path / "run")
    equal(state.params, donor.params if raw else donor.ema)
    equal(state.ema, state.params)


def test_a_new_state_has_averages_where_the_configuration_wants_them():
    assert new_state(fake_config())[1].ema is None
    _, state = new_state(fake_config(ema_decay=0.999))
    equal(state.ema, state.params)
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(pointers) == len(set(pointers))  # donated arrays must not be shared
