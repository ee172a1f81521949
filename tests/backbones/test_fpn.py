"""The pyramid on numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from querypose_jax.backbones.fpn import FPN


def test_each_level_is_the_sum_of_the_laterals_from_its_own_down():
    """Maps of ones with 1, 2, 3, 4 channels, laterals that add the channels up, outputs that copy: laterals are
    1, 2, 3, 4 from P2 to P5, so the sums are 10, 9, 7, 4."""
    pyramid = FPN((1, 2, 3, 4), 1, jnp.dtype("float32"), nnx.Rngs(0))
    for lateral, output in zip(pyramid.laterals, pyramid.outputs, strict=True):
        lateral.kernel[...] = jnp.ones_like(lateral.kernel[...])
        output.kernel[...] = jnp.zeros_like(output.kernel[...]).at[1, 1].set(1)
    maps = [jnp.ones((1, size, 2 * size, channels)) for size, channels in zip((8, 4, 2, 1), (1, 2, 3, 4), strict=True)]
    levels = jax.jit(pyramid.__call__)(maps)
    for level, size, value in zip(levels, (8, 4, 2, 1), (10, 9, 7, 4), strict=True):
        assert level.shape == (1, size, 2 * size, 1)
        assert np.allclose(level, value)
