"""RealNVP on the plane (Dinh et al. 2017): the learned density of keypoint errors in RLE (Li et al. 2021)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs, uniform_fan_in
from querypose_jax.layers.linear import at_least_float32

LEAK = 0.01  # slope of the leaky ReLU below zero


class CouplingNet(nnx.Module):
    """2 -> hidden -> hidden -> 2 with leaky ReLUs."""

    def __init__(self, hidden: int, dtype: jnp.dtype, rngs: Rngs):
        def dense(fan_in, fan_out):
            init = uniform_fan_in(fan_in)
            return nnx.Linear(
                fan_in,
                fan_out,
                kernel_init=init,
                bias_init=init,
                dtype=dtype,
                param_dtype=dtype,
                precision="highest",
                rngs=rngs,
            )

        self.layers = nnx.List([dense(2, hidden), dense(hidden, hidden), dense(hidden, 2)])

    def __call__(self, x: Float[Array, "*B 2"]) -> Float[Array, "*B 2"]:
        first, second, last = self.layers
        x = jax.nn.leaky_relu(first(x), LEAK)
        return last(jax.nn.leaky_relu(second(x), LEAK))


class RealNVP(nnx.Module):
    """A stack of affine couplings that alternate between the two coordinates; always in at least float32."""

    def __init__(self, couplings: int, hidden: int, dtype: jnp.dtype, rngs: Rngs):
        dtype = at_least_float32(dtype)
        self.scales = nnx.List([CouplingNet(hidden, dtype, rngs) for _ in range(couplings)])
        self.shifts = nnx.List([CouplingNet(hidden, dtype, rngs) for _ in range(couplings)])

    def log_prob(self, x: Float[Array, "*B 2"]) -> Float[Array, "*B"]:
        """Log density: x goes back through the couplings, last one first, to a standard normal."""
        log_det = jnp.zeros(x.shape[:-1], x.dtype)
        for k in reversed(range(len(self.scales))):
            moved = k % 2  # coupling 0 keeps y and moves x, coupling 1 keeps x and moves y, ...
            fixed = x.at[..., moved].set(0)
            scale = jnp.tanh(self.scales[k](fixed)[..., moved])
            shift = self.shifts[k](fixed)[..., moved]
            x = x.at[..., moved].set((x[..., moved] - shift) * jnp.exp(-scale))
            log_det = log_det - scale
        return log_det - 0.5 * jnp.square(x).sum(-1) - math.log(2 * math.pi)
