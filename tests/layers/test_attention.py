"""Self-attention against a loop over heads and queries."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from querypose_jax.layers.attention import SelfAttention

TOKENS, DIM, HEADS = 5, 8, 2


def by_loop(attention, x):
    """x [T, C]: each head softmaxes q . k / sqrt(C / heads) over the tokens and mixes its block of v."""
    projected = x @ np.asarray(attention.in_proj.kernel[...]) + np.asarray(attention.in_proj.bias[...])
    q, k, v = np.split(projected, 3, -1)
    mixed = np.zeros_like(x)
    width = DIM // HEADS
    for head in range(HEADS):
        block = slice(head * width, (head + 1) * width)
        for token in range(len(x)):
            weights = np.exp(k[:, block] @ q[token, block] / np.sqrt(width))
            mixed[token, block] = weights / weights.sum() @ v[:, block]
    return mixed @ np.asarray(attention.out_proj.kernel[...]) + np.asarray(attention.out_proj.bias[...])


def test_equals_a_loop_over_heads_and_tokens():
    attention = SelfAttention(DIM, HEADS, jnp.dtype("float32"), nnx.Rngs(0))
    rng = np.random.default_rng(0)
    attention.in_proj.bias[...] = jnp.asarray(rng.normal(size=3 * DIM), jnp.float32)
    attention.out_proj.bias[...] = jnp.asarray(rng.normal(size=DIM), jnp.float32)
    x = rng.normal(size=(2, 3, TOKENS, DIM)).astype(np.float32)
    out = np.asarray(attention(jnp.asarray(x)))
    for i in range(2):
        for j in range(3):
            assert np.allclose(out[i, j], by_loop(attention, x[i, j]), atol=1e-5)
