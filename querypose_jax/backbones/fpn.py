"""Feature pyramid network (Lin et al. 2017) on top of a four-stage trunk."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.initialisers import Rngs, kaiming_uniform
from querypose_jax.layers.upsample import nearest_upsample

PYRAMID_STRIDES = (4, 8, 16, 32)  # pixels per cell of P2..P5


def pyramid_conv(fan_in: int, fan_out: int, size: int, dtype: jnp.dtype, rngs: Rngs) -> Conv:
    """Convolution with bias, map size kept."""
    return Conv(fan_in, fan_out, size, dtype, rngs, init=kaiming_uniform, bias_init=nnx.initializers.zeros)


class FPN(nnx.Module):
    """1x1 laterals, top-down sums, 3x3 outputs: P2..P5 from C2..C5. The released P6 is never read and not built."""

    def __init__(self, channels: Sequence[int], width: int, dtype: jnp.dtype, rngs: Rngs):
        self.laterals = nnx.List([pyramid_conv(c, width, 1, dtype, rngs) for c in channels])
        self.outputs = nnx.List([pyramid_conv(width, width, 3, dtype, rngs) for _ in channels])

    def __call__(self, maps: Sequence[Float[Array, "B _ _ _"]]) -> list[Float[Array, "B _ _ C"]]:
        merged = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for level in reversed(range(len(merged) - 1)):
            merged[level] = merged[level] + nearest_upsample(merged[level + 1], 2)
        return [output(x) for output, x in zip(self.outputs, merged, strict=True)]
