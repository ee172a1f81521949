"""The deformable encoder (section 6): every token of every map looks around itself on all maps."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import FeedForward, layer_norm
from querypose_jax.layers.remat import run_block
from querypose_jax.models.deformable.attention import DeformableAttention
from querypose_jax.models.deformable.tokens import Tokens, cell_centres


def encoder_references(tokens: Tokens) -> Float[Array, "B T L 2"]:
    """The centre of each token's cell, in units of the padded map of each level."""
    return cell_centres(tokens)[:, :, None] * tokens.valid_ratios[:, None]


class EncoderLayer(nnx.Module):
    """x <- LN(x + attention(x + position)), x <- LN(x + FFN(x)). Values carry no position."""

    def __init__(self, width: int, heads: int, levels: int, points: int, ffn: int, dtype: jnp.dtype, rngs: Rngs):
        self.attention = DeformableAttention(width, heads, levels, points, dtype, rngs)
        self.attention_norm = layer_norm(width, dtype, rngs)
        self.ffn = FeedForward(width, ffn, dtype, rngs)
        self.ffn_norm = layer_norm(width, dtype, rngs)

    def __call__(
        self, x: Float[Array, "B T C"], tokens: Tokens, references: Float[Array, "B T L 2"]
    ) -> Float[Array, "B T C"]:
        """`tokens` tell positions, masks and shapes; their features are not read."""
        y = self.attention(x + tokens.position, references, x, tokens.shapes, tokens.is_valid)
        x = self.attention_norm(x + y)
        return self.ffn_norm(x + self.ffn(x))


class Encoder(nnx.Module):
    """A stack of `EncoderLayer`; no norm at its end. With `remat` each layer is computed again in the backward pass."""

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        levels: int,
        points: int,
        ffn: int,
        remat: bool,
        dtype: jnp.dtype,
        rngs: Rngs,
    ):
        self.remat = remat
        self.layers = nnx.List([EncoderLayer(width, heads, levels, points, ffn, dtype, rngs) for _ in range(layers)])

    def __call__(self, tokens: Tokens) -> Float[Array, "B T C"]:
        """Tokens to memory."""
        x, references = tokens.features, encoder_references(tokens)
        for layer in self.layers:
            x = run_block(self.remat, layer, x, tokens, references)
        return x
