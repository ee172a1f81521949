"""Of a run that averages its parameters the averages are exported under the released names, unless told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from querypose_jax.checkpoints.config_json import write_config
from querypose_jax.checkpoints.rotation import Checkpoints
from querypose_jax.checkpoints.train_state import TrainState
from querypose_jax.weights.command import main
from querypose_jax.weights.official import from_official
from tests.weights.states import random_state, small_head


@pytest.mark.slow
def test_averages_are_exported_unless_told(tmp_path):
    released = random_state(small_head())
    params, rest = nnx.split_state(from_official(released, small_head()), nnx.Param, ...)
    ema = jax.tree.map(lambda x: x + 1, params)
    state = TrainState(jnp.ones((), jnp.int32), params, rest, {"count": jnp.zeros(())}, ema)
    write_config(tmp_path, small_head())
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, {})
    written = {}
    for name, flags in (("averages", ()), ("raw", ("--raw",))):
        path = tmp_path / f"{name}.safetensors"
        assert main(["weights", "--to=official", f"--input={tmp_path}", f"--output={path}", *flags]) == 0
        written[name] = safetensors.numpy.load_file(path)
    assert all(np.array_equal(written["raw"][name], released[name]) for name in released)
    moved = [name for name in released if not np.array_equal(written["averages"][name], released[name])]
    assert len(moved) >= len(jax.tree.leaves(params))
