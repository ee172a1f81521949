"""Multi-head self-attention with one packed q, k, v projection."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import at_least_float32, linear


def attend(
    packed: Float[Array, "*B T D"], heads: int, bias: Float[Array, "..."] | None = None
) -> Float[Array, "*B T _"]:
    """softmax(q k^T / sqrt(C / heads) + bias) v; `packed` holds q, k and v, each C = D / 3 wide, head after head.

    `bias` is added to logits [*B, heads, T, T].
    """
    q, k, v = jnp.moveaxis(packed.reshape(*packed.shape[:-1], 3, heads, -1), -3, 0)  # each [*B, T, heads, C / heads]
    logits = jnp.einsum("...qhc,...khc->...hqk", q, k).astype(at_least_float32(packed.dtype)) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(logits if bias is None else logits + bias, -1).astype(packed.dtype)
    attended = jnp.einsum("...hqk,...khc->...qhc", weights, v)
    return attended.reshape(*packed.shape[:-1], -1)


class SelfAttention(nnx.Module):
    """softmax(q k^T / sqrt(C / heads)) v over the tokens axis; head h owns the h-th block of channels."""

    def __init__(self, dim: int, heads: int, dtype: jnp.dtype, rngs: Rngs):
        self.heads = heads
        self.in_proj = linear(dim, 3 * dim, dtype, rngs, bias="zero")
        self.out_proj = linear(dim, dim, dtype, rngs, bias="zero")

    def __call__(self, x: Float[Array, "*B T C"]) -> Float[Array, "*B T C"]:
        return self.out_proj(attend(self.in_proj(x), self.heads))
