"""Weights that never train."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.linear import NORM_EPSILON, at_least_float32


class Frozen(nnx.Variable):
    """A weight that no gradient reaches: the optimizer sees nnx.Param only."""


def freeze_convolutions(module: nnx.Module) -> None:
    """Turns the kernels of all convolutions below a module into Frozen variables."""
    for _, layer in nnx.iter_modules(module):
        if isinstance(layer, Conv):
            layer.kernel = Frozen(layer.kernel[...])  # type: ignore[assignment]  # any variable serves as a kernel


class FrozenBatchNorm(nnx.Module):
    """Batch norm whose statistics and affine parameters are constants: y = x s + (b - m s), s = w / sqrt(v + eps)."""

    def __init__(self, channels: int, dtype: jnp.dtype):
        param_dtype = at_least_float32(dtype)
        self.dtype = dtype
        self.scale = Frozen(jnp.ones(channels, param_dtype))
        self.bias = Frozen(jnp.zeros(channels, param_dtype))
        self.mean = Frozen(jnp.zeros(channels, param_dtype))
        self.var = Frozen(jnp.full(channels, 1 - NORM_EPSILON, param_dtype))

    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        scale = self.scale[...] / jnp.sqrt(self.var[...] + NORM_EPSILON)
        shift = self.bias[...] - self.mean[...] * scale
        return x * scale.astype(self.dtype) + shift.astype(self.dtype)
