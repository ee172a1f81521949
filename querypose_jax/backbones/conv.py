"""The convolution of all trunks and pyramids."""

import jax.numpy as jnp
from flax import nnx

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import at_least_float32


def conv(
    fan_in: int,
    fan_out: int,
    size: int,
    dtype: jnp.dtype,
    rngs: Rngs,
    *,
    init: nnx.Initializer,
    stride: int = 1,
    bias_init: nnx.Initializer | None = None,
) -> nnx.Conv:
    """Convolution of size x size cells, map size kept up to the stride; it has a bias where `bias_init` is given."""
    return nnx.Conv(
        fan_in,
        fan_out,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=bias_init is not None,
        kernel_init=init,
        bias_init=bias_init or nnx.initializers.zeros,
        dtype=dtype,
        param_dtype=at_least_float32(dtype),
        rngs=rngs,
    )
