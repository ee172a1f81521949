"""The two pyramids on top of an HRNet: both start from all branches on the finest grid, reduced to one width."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.initialisers import Rngs, kaiming_uniform, pytorch_uniform, uniform_fan_in


def on_finest_grid(maps: Sequence[Float[Array, "B _ _ _"]]) -> Float[Array, "B h w _"]:
    """All maps with the first one's size (bilinear, half-pixel centres), one after the other along the channels."""
    size = maps[0].shape[1:3]
    enlarged = [jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "bilinear") for x in maps[1:]]
    return jnp.concatenate([maps[0], *enlarged], -1)


def average_pool(x: Float[Array, "B h w C"], factor: int) -> Float[Array, "B _ _ C"]:
    """Means over factor x factor cells; sizes must be multiples of the factor."""
    pictures, height, width, channels = x.shape
    cells = x.reshape(pictures, height // factor, factor, width // factor, factor, channels)
    return cells.mean((2, 4))


def biased_conv(fan_in: int, fan_out: int, size: int, dtype: jnp.dtype, rngs: Rngs) -> Conv:
    """Convolution with bias, both as PyTorch draws them."""
    bias_init = uniform_fan_in(fan_in * size * size)
    return Conv(fan_in, fan_out, size, dtype, rngs, init=pytorch_uniform, bias_init=bias_init)


class PlainHRFPN(nnx.Module):
    """P2..P5 are 3x3 convolutions of the reduced map, averaged over 1, 2, 4, 8 cells (released with W32).

    The released fifth output is never read and not built.
    """

    def __init__(self, channels: Sequence[int], width: int, dtype: jnp.dtype, rngs: Rngs):
        self.reduction = biased_conv(sum(channels), width, 1, dtype, rngs)
        self.outputs = nnx.List([biased_conv(width, width, 3, dtype, rngs) for _ in channels])

    def __call__(self, maps: Sequence[Float[Array, "B _ _ _"]]) -> list[Float[Array, "B _ _ C"]]:
        reduced = self.reduction(on_finest_grid(maps))
        return [output(average_pool(reduced, 2**level)) for level, output in enumerate(self.outputs)]


class LateralHRFPN(nnx.Module):
    """HRFPN "v1": every level is half the finer one plus a lateral of its own branch (released with W48).

    So each level also holds the finer laterals. Laterals and outputs have no bias: the released code adds one only
    where the norm is None, and its config says "". The first lateral and the fifth output are never used there and
    not built.
    """

    def __init__(self, channels: Sequence[int], width: int, dtype: jnp.dtype, rngs: Rngs):
        self.reduction = biased_conv(sum(channels), width, 1, dtype, rngs)
        self.laterals = nnx.List([Conv(c, width, 1, dtype, rngs, init=kaiming_uniform) for c in channels[1:]])
        self.outputs = nnx.List([Conv(width, width, 3, dtype, rngs, init=kaiming_uniform) for _ in channels])

    def __call__(self, maps: Sequence[Float[Array, "B _ _ _"]]) -> list[Float[Array, "B _ _ C"]]:
        levels = [self.reduction(on_finest_grid(maps))]
        for lateral, x in zip(self.laterals, maps[1:], strict=True):
            levels.append(average_pool(levels[-1], 2) + lateral(x))
        return [output(x) for output, x in zip(self.outputs, levels, strict=True)]
