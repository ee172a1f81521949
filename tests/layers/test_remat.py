"""Blocks that are computed again in the backward pass: same numbers, same statistics."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.backbones.hrnet import ConvNorm, Exchange
from querypose_jax.backbones.swin import SwinBlock
from querypose_jax.backbones.windows import shift_mask
from querypose_jax.layers.remat import run_block

FLOAT32 = jnp.dtype("float32")


def gradients_and_statistics(module, remat, x, *rest):
    """Of the mean square of what a block returns; and how many parts its program computes again.

    Each of these names its option prevent_cse in the program.
    """
    graphdef, params, statistics = nnx.split(module, nnx.Param, ...)

    def loss(params):
        block = nnx.merge(graphdef, params, statistics, copy=True)
        out = run_block(remat, block, x, *rest)
        return sum(jnp.square(y).mean() for y in jax.tree.leaves(out)), nnx.state(block, nnx.BatchStat)

    of = jax.value_and_grad(loss, has_aux=True)
    return jax.jit(of)(params), str(jax.make_jaxpr(of)(params)).count("prevent_cse")


@pytest.mark.slow
def test_an_hrnet_module_moves_its_statistics_once_either_way():
    make = functools.partial(ConvNorm, pictures_per_group=1, dtype=FLOAT32, rngs=nnx.Rngs(0))
    module = Exchange((2, 4), make)
    maps = [jax.random.normal(jax.random.key(i), (2, 8 >> i, 8 >> i, 2 << i)) for i in range(2)]
    kept, plain = gradients_and_statistics(module, False, maps, True)
    again, remat = gradients_and_statistics(module, True, maps, True)
    assert plain == 0 and remat > 0
    chex.assert_trees_all_close(kept, again, rtol=1e-4, atol=1e-6)
    means = [leaf for path, leaf in nnx.to_flat_state(again[0][1]) if path[-1] == "mean"]
    assert any(np.any(mean[...]) for mean in means)


@pytest.mark.slow
def test_a_swin_block_drops_the_same_paths_again():
    block = SwinBlock(8, 2, True, 0.5, FLOAT32, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (4, 7, 7, 8))
    rest = shift_mask(7, 7, FLOAT32), jax.random.key(1)
    kept, plain = gradients_and_statistics(block, False, x, *rest)
    again, remat = gradients_and_statistics(block, True, x, *rest)
    assert plain == 0 and remat > 0
    chex.assert_trees_all_close(kept, again, rtol=1e-4, atol=1e-6)
