"""The decoder of Group Pose (paper section 3.3): keypoint queries in groups, one group and one score per person.

Queries are [B, N, K+1, C]: slot 0 of an instance is its instance query (for the score), slots 1..K its joint queries.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import FeedForward, layer_norm
from querypose_jax.models.deformable.attention import DeformableAttention, QueryAttention, Shapes
from querypose_jax.models.deformable.encodings import encode_references, logit
from querypose_jax.models.deformable.tokens import Tokens


def with_centre(points: Float[Array, "B N K 2"]) -> Float[Array, "B N K+1 2"]:
    """References of all slots: the instance's is the mean of its joints."""
    return jnp.concatenate([points.mean(2, keepdims=True), points], 2)


def on_maps(references: Float[Array, "B N J 2"], tokens: Tokens) -> Float[Array, "B N J L 2"]:
    """References in units of each level's padded map."""
    return references[:, :, :, None] * tokens.valid_ratios[:, None, None]


def add_position(x: Float[Array, "B N J C"], position: Float[Array, "B N K C"]) -> Float[Array, "B N J C"]:
    """The queries with a position added to the joints'; instance queries have none."""
    return x + jnp.pad(position, ((0, 0), (0, 0), (1, 0), (0, 0)))


def joint_positions(
    head: Callable[[Array], Array], references: Float[Array, "B N J L 2"], width: int
) -> Float[Array, "B N _ C"]:
    """Positions of the joint queries: from the sine encodings of their points on the first level's map."""
    return head(encode_references(references[:, :, 1:, 0], width // 2))


def move_points(
    head: Callable[[Array], Array], x: Float[Array, "B N J C"], references: Float[Array, "B N J 2"]
) -> Float[Array, "B N _ 2"]:
    """Points of the joint queries' references, moved by what a head reads from the queries (section 10)."""
    return jax.nn.sigmoid(head(x[:, :, 1:]) + logit(references[:, :, 1:]))


class DecoderLayer(nnx.Module):
    """Attention within each instance, across instances slot by slot, to the maps, and an FFN; norms come after.

    As released, the joint queries' position is added to them for good, before the first and before the third attention
    (section 9): residuals carry it, and attention takes q, k and v from the same queries.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int, ffn: int, dtype: jnp.dtype, rngs: Rngs):
        self.within_attention = QueryAttention(width, heads, dtype, rngs)
        self.within_norm = layer_norm(width, dtype, rngs)
        self.across_attention = QueryAttention(width, heads, dtype, rngs)
        self.across_norm = layer_norm(width, dtype, rngs)
        self.cross_attention = DeformableAttention(width, heads, levels, points, dtype, rngs)
        self.cross_norm = layer_norm(width, dtype, rngs)
        self.ffn = FeedForward(width, ffn, dtype, rngs)
        self.ffn_norm = layer_norm(width, dtype, rngs)

    def __call__(
        self,
        x: Float[Array, "B N J C"],
        position: Float[Array, "B N _ C"],
        references: Float[Array, "B N J L 2"],
        memory: Float[Array, "B T C"],
        tokens: Tokens,
    ) -> Float[Array, "B N J C"]:
        """`x` has the position already (the first addition); `references` as `on_maps` gives them."""
        x = self.between_queries(x, position)
        queries, places = self.in_a_row(x, references)
        y = self.cross_attention(queries, places, memory, tokens.shapes, tokens.is_valid)
        x = self.cross_norm(x + y.reshape(x.shape))
        return self.ffn_norm(x + self.ffn(x))

    def samples(
        self,
        x: Float[Array, "B N J C"],
        position: Float[Array, "B N _ C"],
        references: Float[Array, "B N J L 2"],
        shapes: Shapes,
    ) -> tuple[Float[Array, "B N*J heads L P 2"], Float[Array, "B N*J heads L P"]]:
        """Where the cross-attention of a call with these arguments reads, and with which weights."""
        queries, places = self.in_a_row(self.between_queries(x, position), references)
        return self.cross_attention.samples(queries, places, shapes)

    def between_queries(self, x: Float[Array, "B N J C"], position: Float[Array, "B N _ C"]) -> Float[Array, "B N J C"]:
        """Both attentions among queries and the second addition: what asks the maps."""
        x = self.within_norm(x + self.within_attention(x))
        across = self.across_attention(x.swapaxes(1, 2)).swapaxes(1, 2)
        return add_position(self.across_norm(x + across), position)

    @staticmethod
    def in_a_row(
        x: Float[Array, "B N J C"], references: Float[Array, "B N J L 2"]
    ) -> tuple[Float[Array, "B _ C"], Float[Array, "B _ L 2"]]:
        """All queries of a picture as one sequence, instance after instance."""
        return x.reshape(len(x), -1, x.shape[-1]), references.reshape(len(x), -1, *references.shape[3:])
