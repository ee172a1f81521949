import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.backbones.small import Stem


@pytest.mark.parametrize(("dtype", "kept"), [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_running_statistics_are_kept_in_at_least_float32_and_as_wide_as_the_model(dtype, kept):
    with jax.enable_x64(True):
        stem = Stem(4, jnp.dtype(dtype), nnx.Rngs(0))
        pictures = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), dtype)
        stem(pictures, train=True)
        statistics = jax.tree.leaves(nnx.state(stem, nnx.BatchStat))
        assert [leaf.dtype for leaf in statistics] == [kept, kept]
        assert all(np.abs(np.asarray(leaf)).max() > 0 for leaf in statistics)
