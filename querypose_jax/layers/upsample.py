"""Enlarging a map: by repeating, and by a 4x4 transposed convolution written as four 2x2 convolutions."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.convolution import convolve
from querypose_jax.layers.initialisers import Rngs, xavier_uniform
from querypose_jax.layers.linear import at_least_float32

# Output row 2i + a of a stride-2, padding-1 transposed convolution reads two input rows: i-1 and i through kernel rows
# 3 and 1 for a = 0, i and i+1 through kernel rows 2 and 0 for a = 1. Columns likewise.
PHASE_TAPS = ((3, 1), (2, 0))


def nearest_upsample(x: Float[Array, "B h w C"], factor: int) -> Float[Array, "B _ _ C"]:
    """Every cell becomes a block of factor x factor cells."""
    return x.repeat(factor, 1).repeat(factor, 2)


class DoubleUpsample(nnx.Module):
    """Transposed convolution 4x4, stride 2, padding 1, without bias.

    One ordinary 2x2 convolution per output phase: the dilated form multiplies three zeros in four, and XLA's CPU
    backend takes 14 times as long for it.
    """

    def __init__(self, dim: int, dtype: jnp.dtype, rngs: Rngs):
        self.dtype = dtype
        self.kernel = nnx.Param(xavier_uniform(rngs.params(), (4, 4, dim, dim), at_least_float32(dtype)))  # h w in out

    def __call__(self, x: Float[Array, "R h w C"]) -> Float[Array, "R 2*h 2*w C"]:
        rows, height, width, channels = x.shape
        kernel = self.kernel[...].astype(self.dtype)
        phases = [
            convolve(x, kernel[PHASE_TAPS[a], :][:, PHASE_TAPS[b]], 1, ((1 - a, a), (1 - b, b)))
            for a in (0, 1)
            for b in (0, 1)
        ]
        grid = jnp.stack(phases, 3).reshape(rows, height, width, 2, 2, channels)
        return grid.transpose(0, 1, 3, 2, 4, 5).reshape(rows, 2 * height, 2 * width, channels)
