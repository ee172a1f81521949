"""Dense layers and norms with the settings of the released model.

One `dtype` rules: it is the compute dtype; parameters, norm statistics and softmax use `at_least_float32(dtype)`.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs, uniform_fan_in, xavier_uniform

NORM_EPSILON = 1e-5


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """float32 for bfloat16 and float32, float64 for float64."""
    return jnp.promote_types(dtype, jnp.float32)


def linear(
    fan_in: int,
    fan_out: int,
    dtype: jnp.dtype,
    rngs: Rngs,
    *,
    bias: str | nnx.Initializer = "uniform",
    kernel_init: nnx.Initializer = xavier_uniform,
) -> nnx.Linear:
    """Linear layer; bias: "uniform" (as PyTorch draws it), "zero", "none" or an initialiser."""
    named = {"uniform": uniform_fan_in(fan_in), "zero": nnx.initializers.zeros, "none": None}
    return nnx.Linear(
        fan_in,
        fan_out,
        use_bias=bias != "none",
        kernel_init=kernel_init,
        bias_init=named[bias] if isinstance(bias, str) else bias,
        dtype=dtype,
        param_dtype=at_least_float32(dtype),
        rngs=rngs,
    )


def layer_norm(dim: int, dtype: jnp.dtype, rngs: Rngs) -> nnx.LayerNorm:
    """LayerNorm over the last axis; the variance is taken in two passes, for accuracy."""
    return nnx.LayerNorm(
        dim,
        epsilon=NORM_EPSILON,
        dtype=dtype,
        param_dtype=at_least_float32(dtype),
        use_fast_variance=False,
        rngs=rngs,
    )


class FeedForward(nnx.Module):
    """Two linear layers with a ReLU between; the residual and the norm are the caller's."""

    def __init__(self, dim: int, hidden: int, dtype: jnp.dtype, rngs: Rngs):
        self.expand = linear(dim, hidden, dtype, rngs)
        self.contract = linear(hidden, dim, dtype, rngs)

    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        return self.contract(jax.nn.relu(self.expand(x)))


class Tower(nnx.Module):
    """`depth` times linear without bias, LayerNorm, ReLU."""

    def __init__(self, dim: int, depth: int, dtype: jnp.dtype, rngs: Rngs):
        self.linears = nnx.List([linear(dim, dim, dtype, rngs, bias="none") for _ in range(depth)])
        self.norms = nnx.List([layer_norm(dim, dtype, rngs) for _ in range(depth)])

    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        for dense, norm in zip(self.linears, self.norms, strict=True):
            x = jax.nn.relu(norm(dense(x)))
        return x
