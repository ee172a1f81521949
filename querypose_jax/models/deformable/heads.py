"""Small networks on queries (section 11 of Group Pose, 13 of ED-Pose); their initial values are PyTorch's own."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs, pytorch_uniform, xavier_uniform
from querypose_jax.layers.linear import at_least_float32, linear

PRIOR = 0.01  # probability of each class at the start


def class_head(width: int, columns: int, dtype: jnp.dtype, rngs: Rngs) -> nnx.Linear:
    """Class logits in at least float32, at first of probability 0.01."""
    bias = nnx.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
    return linear(width, columns, at_least_float32(dtype), rngs, bias=bias, kernel_init=pytorch_uniform)


class MLP(nnx.Module):
    """Linear layers with ReLUs between them."""

    def __init__(
        self,
        sizes: Sequence[int],
        dtype: jnp.dtype,
        rngs: Rngs,
        *,
        kernel_init: nnx.Initializer = pytorch_uniform,
        starts_at_zero: bool = False,
    ):
        """
        Args:
            sizes: features of the input, of each hidden layer, and of the output.
            dtype: of the computation.
            rngs: keys of the initial values.
            kernel_init: of all kernels; PyTorch's default for heads, xavier_uniform inside the transformer.
            starts_at_zero: the last layer is zero, and so is what comes out at first.
        """
        *hidden, last = itertools.pairwise(sizes)
        zeros = nnx.initializers.zeros
        of_last = dict(kernel_init=zeros, bias=zeros) if starts_at_zero else dict(kernel_init=kernel_init)
        layers = [linear(i, o, dtype, rngs, kernel_init=kernel_init) for i, o in hidden]
        self.layers = nnx.List([*layers, linear(*last, dtype, rngs, **of_last)])

    def __call__(self, x: Float[Array, "*B _"]) -> Float[Array, "*B _"]:
        *hidden, last = self.layers
        for layer in hidden:
            x = jax.nn.relu(layer(x))
        return last(x)


def moving_head(sizes: Sequence[int], dtype: jnp.dtype, rngs: Rngs) -> MLP:
    """An MLP whose output moves references, in logits; at first by nothing.

    Computed in at least float32: 0.01 of a logit is three pixels in the middle of a canvas of 1333.
    """
    return MLP(sizes, at_least_float32(dtype), rngs, starts_at_zero=True)


def position_head(sizes: Sequence[int], dtype: jnp.dtype, rngs: Rngs) -> MLP:
    """The MLP between sine encodings and the positions that are added to queries."""
    return MLP(sizes, dtype, rngs, kernel_init=xavier_uniform)
