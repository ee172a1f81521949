"""Parameters of optimizer.freeze stay to the bit, have no moments, and a run keeps to what it froze."""

import jax
import numpy as np
import pytest
from flax import nnx

from querypose_jax.checkpoints.checkpoint import load_model, named_leaves
from querypose_jax.configuration.check_config import check_config
from querypose_jax.errors import UserError
from querypose_jax.training.build import new_state
from querypose_jax.training.loop import train
from tests.training.fakes import fake_batches, fake_config


def frozen(pattern: str = "backbone", **train):
    config = fake_config(**train)
    config.optimizer.freeze = pattern
    return config


def arrays(state: nnx.State) -> dict[str, np.ndarray]:
    return {name: np.asarray(x) for name, x in named_leaves(state).items()}


def test_what_is_frozen_stays_to_the_bit_and_the_rest_trains(tmp_path):
    config = frozen(num_steps=4, ema_decay=0.9)
    config.optimizer.weight_decay = 0.1
    before = arrays(new_state(config)[1].model)
    state = train(config, fake_batches(), tmp_path)
    after = arrays(state.model)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {
        "flow.kernel", "flow.bias", "norm.scale", "norm.bias", "norm.mean", "norm.var",
    }  # fmt: skip
    assert sorted(arrays(state.params)) == sorted(arrays(state.ema)) == [
        "flow.bias", "flow.kernel", "norm.bias", "norm.scale",
    ]  # fmt: skip
    assert not any(
        "backbone" in jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state.opt_state)
    )
    loaded = arrays(load_model(tmp_path)[2])
    assert loaded.keys() == after.keys()
    np.testing.assert_array_equal(loaded["backbone.kernel"], before["backbone.kernel"])


def test_a_frozen_run_continues_to_the_bit_and_no_other_may_continue_it(tmp_path):
    whole = train(frozen(num_steps=6, checkpoint_every=3), fake_batches(), tmp_path / "whole")
    train(frozen(num_steps=3, checkpoint_every=3), fake_batches(), tmp_path / "part")
    part = train(frozen(num_steps=6, checkpoint_every=3), fake_batches(), tmp_path / "part")
    jax.tree.map(np.testing.assert_array_equal, whole.model, part.model)
    with pytest.raises(UserError, match="optimizer.freeze is 'backbone' there and '' here"):
        train(fake_config(num_steps=9), fake_batches(), tmp_path / "part")


@pytest.mark.parametrize(
    ("pattern", "where"), [("trunk", "no parameter"), (".", "every parameter"), ("running", "no parameter")]
)
def test_a_pattern_that_freezes_nothing_or_everything_is_one_line(pattern, where):
    with pytest.raises(UserError, match=f"optimizer.freeze='{pattern}' is found in the path of {where}"):
        new_state(frozen(pattern))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("optimizer.freeze", "(", "must be a regular expression"),
        ("init_map", (("head",),), "must be pairs"),
        ("init_map", (("head", 3),), "must be pairs"),
        ("init_map", ("head", "nose"), "must be pairs"),
    ],
)
def test_keys_of_a_start_that_cannot_be_read_are_one_line(key, value, said):
    config = fake_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=f"config.{key}=.* {said}"):
        check_config(config)
