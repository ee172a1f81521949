"""The paths between branches, and what a training step does to the statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.backbones.hrnet import ConvNorm, Exchange, FusionPath

FLOAT32 = jnp.dtype("float32")
WIDTHS = (2, 4, 8)


def maker(pictures_per_group=0):
    return functools.partial(ConvNorm, pictures_per_group=pictures_per_group, dtype=FLOAT32, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize("target", range(3))
def test_a_path_ends_with_the_size_and_width_of_its_target(source, target):
    path = FusionPath(source, target, WIDTHS, maker())
    x = jnp.zeros((1, 8 >> source, 16 >> source, WIDTHS[source]))
    assert jax.eval_shape(lambda x: path(x, train=False), x).shape == (1, 8 >> target, 16 >> target, WIDTHS[target])
    assert [step.conv.kernel.shape[3] for step in path.steps] == {
        -1: [WIDTHS[target]],
        -2: [WIDTHS[target]],
        0: [],
        1: [WIDTHS[target]],
        2: [WIDTHS[source], WIDTHS[target]],
    }[target - source], "downwards all but the last keep the width"


def test_the_last_step_of_a_path_has_no_relu_and_those_before_have():
    """Weights of -1 in the middle cell: the first step of two makes ones negative, the ReLU zero."""
    for target, value in ((1, -2), (2, 0)):
        path = FusionPath(0, target, WIDTHS, maker())
        for step in path.steps:
            step.conv.kernel[...] = jnp.zeros_like(step.conv.kernel[...]).at[1, 1].set(-1)
            step.norm.var[...] = jnp.full_like(step.norm.var[...], 1 - 1e-5)
        assert np.allclose(path(jnp.ones((1, 8, 8, 2)), train=False), value)


def test_each_branch_becomes_the_rectified_sum_of_all():
    """Blocks that do nothing (scale 0) and paths that are constants (bias 1): x + 1 from each other branch."""
    exchange = Exchange(WIDTHS[:2], maker())
    for _, module in nnx.iter_modules(exchange):
        if isinstance(module, ConvNorm):
            module.norm.scale[...] = jnp.zeros_like(module.norm.scale[...])
    for target in range(2):
        for step in exchange.fusions[target][1 - target].steps:
            step.norm.bias[...] = jnp.ones_like(step.norm.bias[...])
    maps = [jnp.full((1, 4, 4, 2), 3.0), jnp.full((1, 2, 2, 4), -5.0)]
    fine, coarse = exchange(maps, train=False)
    assert np.allclose(fine, 3 + 1)
    assert np.allclose(coarse, 0 + 1), "the blocks' own ReLU has made -5 a zero"
