"""Multi-head self-attention with one packed q, k, v projection."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import at_least_float32, linear


class SelfAttention(nnx.Module):
    """softmax(q k^T / sqrt(C / heads)) v over the tokens axis; head h owns the h-th block of channels."""

    def __init__(self, dim: int, heads: int, dtype: jnp.dtype, rngs: Rngs):
        self.heads = heads
        self.dtype = dtype
        self.in_proj = linear(dim, 3 * dim, dtype, rngs, bias="zero")
        self.out_proj = linear(dim, dim, dtype, rngs, bias="zero")

    def __call__(self, x: Float[Array, "*B T C"]) -> Float[Array, "*B T C"]:
        packed = self.in_proj(x).reshape(*x.shape[:-1], 3, self.heads, -1)
        q, k, v = jnp.moveaxis(packed, -3, 0)  # each [*B, T, heads, C / heads]
        logits = jnp.einsum("...qhc,...khc->...hqk", q, k).astype(at_least_float32(self.dtype))
        weights = jax.nn.softmax(logits * q.shape[-1] ** -0.5, -1).astype(self.dtype)
        attended = jnp.einsum("...hqk,...khc->...qhc", weights, v)
        return self.out_proj(attended.reshape(x.shape))
