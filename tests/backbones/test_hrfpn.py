"""The two pyramids of HRNet on numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from querypose_jax.backbones.hrfpn import LateralHRFPN, PlainHRFPN, average_pool, on_finest_grid

CHANNELS = (1, 2, 3, 4)
MAPS = [jnp.full((1, size, 2 * size, c), float(c)) for size, c in zip((8, 4, 2, 1), CHANNELS, strict=True)]


def summing(pyramid):
    """Reduction and laterals add their channels up, outputs copy the middle of their 3x3 cells."""
    for conv in [pyramid.reduction, *getattr(pyramid, "laterals", [])]:
        conv.kernel[...] = jnp.ones_like(conv.kernel[...])
    for output in pyramid.outputs:
        output.kernel[...] = jnp.zeros_like(output.kernel[...]).at[1, 1].set(1)
    for conv in [pyramid.reduction, *pyramid.outputs]:
        if conv.bias is not None:
            conv.bias[...] = jnp.zeros_like(conv.bias[...])
    return pyramid


def test_doubling_has_half_pixel_centres():
    """Of cells 0 and 4 the doubled row is 0, 1, 3, 4: a quarter of the way, three quarters, and no further outside."""
    coarse = jnp.array([0.0, 4])[None, None, :, None]
    grid = on_finest_grid([jnp.zeros((1, 1, 4, 1)), coarse])
    assert grid.shape == (1, 1, 4, 2)
    assert np.allclose(grid[0, 0, :, 1], [0, 1, 3, 4])


def test_pooling_takes_means_of_square_cells():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    assert average_pool(x, 2)[0, :, :, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert average_pool(x, 1).tolist() == x.tolist()


def test_plain_levels_are_pooled_from_the_reduced_map():
    """Channels c of value c: the reduced map is 1 + 4 + 9 + 16 = 30 everywhere, and so is every level."""
    levels = jax.jit(summing(PlainHRFPN(CHANNELS, 1, jnp.dtype("float32"), nnx.Rngs(0))).__call__)(MAPS)
    for level, size in zip(levels, (8, 4, 2, 1), strict=True):
        assert level.shape == (1, size, 2 * size, 1)
        assert np.allclose(level, 30)


def test_v1_levels_hold_their_own_and_all_finer_laterals():
    """Branch b adds (b + 1)^2 to its level and the coarser ones; branch 0 has no lateral."""
    levels = jax.jit(summing(LateralHRFPN(CHANNELS, 1, jnp.dtype("float32"), nnx.Rngs(0))).__call__)(MAPS)
    for level, size, value in zip(levels, (8, 4, 2, 1), (30, 34, 43, 59), strict=True):
        assert level.shape == (1, size, 2 * size, 1)
        assert np.allclose(level, value)


def test_initial_values_follow_the_released_code():
    """PyTorch's default, 1 / sqrt(fan_in), where there is a bias; sqrt(3 / fan_in) where there is none."""
    plain = PlainHRFPN((8, 8, 8, 8), 16, jnp.dtype("float32"), nnx.Rngs(0))
    lateral = LateralHRFPN((8, 8, 8, 8), 16, jnp.dtype("float32"), nnx.Rngs(0))
    for conv, fan_in in ((plain.reduction, 32), (plain.outputs[2], 9 * 16), (lateral.reduction, 32)):
        assert 0.9 * fan_in**-0.5 < np.abs(conv.kernel[...]).max() <= fan_in**-0.5
        assert 0 < np.abs(conv.bias[...]).max() <= fan_in**-0.5
    for conv, fan_in in ((lateral.laterals[0], 8), (lateral.outputs[0], 9 * 16)):
        assert 0.9 * (3 / fan_in) ** 0.5 < np.abs(conv.kernel[...]).max() <= (3 / fan_in) ** 0.5
        assert conv.bias is None
