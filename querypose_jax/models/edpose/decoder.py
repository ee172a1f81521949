"""Both decoders: people as boxes (sections 9 and 11), their expansion into joints (10), and boxes of people and joints.

Queries lie in one row, see the package. All layers are alike; what differs is who sees whom.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import FeedForward, layer_norm
from querypose_jax.models.deformable.attention import DeformableAttention, QueryAttention
from querypose_jax.models.deformable.encodings import encode_references, logit
from querypose_jax.models.deformable.heads import MLP
from querypose_jax.models.deformable.tokens import Tokens

Attend = Callable[[Array, Array, Array], Array]
"""q, k, v of all heads -> what each query has seen; see attention.py."""
Head = Callable[[Array], Array]
"""Queries -> numbers, as `heads.MLP` gives them."""


def on_maps(references: Float[Array, "B Q 4"], tokens: Tokens) -> Float[Array, "B Q L 4"]:
    """Boxes in units of each level's padded map."""
    ratios = tokens.valid_ratios
    return references[:, :, None] * jnp.concatenate([ratios, ratios], -1)[:, None]


def query_positions(head: MLP, places: Float[Array, "B Q L 4"], width: int) -> Float[Array, "B Q C"]:
    """Positions of queries: from the sine encodings of their boxes on the first level's map."""
    return head(encode_references(places[:, :, 0], width // 2))


class DecoderLayer(nnx.Module):
    """Attention among queries, to the maps, feed-forward; a norm after each addition."""

    def __init__(self, width: int, heads: int, levels: int, points: int, ffn: int, dtype: jnp.dtype, rngs: Rngs):
        self.self_attention = QueryAttention(width, heads, dtype, rngs)
        self.self_norm = layer_norm(width, dtype, rngs)
        self.cross_attention = DeformableAttention(width, heads, levels, points, dtype, rngs)
        self.cross_norm = layer_norm(width, dtype, rngs)
        self.ffn = FeedForward(width, ffn, dtype, rngs)
        self.ffn_norm = layer_norm(width, dtype, rngs)

    def __call__(
        self,
        x: Float[Array, "B Q C"],
        position: Float[Array, "B Q C"],
        places: Float[Array, "B Q L 4"],
        attend: Attend,
        memory: Float[Array, "B T C"],
        tokens: Tokens,
    ) -> Float[Array, "B Q C"]:
        """`places` as `on_maps` gives them. Positions are in what asks and is asked, not in what is read."""
        x = self.between_queries(x, position, attend)
        x = self.cross_norm(x + self.cross_attention(x + position, places, memory, tokens.shapes, tokens.is_valid))
        return self.ffn_norm(x + self.ffn(x))

    def between_queries(
        self, x: Float[Array, "B Q C"], position: Float[Array, "B Q C"], attend: Attend
    ) -> Float[Array, "B Q C"]:
        """The first part: what queries learn from each other."""
        q, k, v = self.self_attention.project(x + position, x)
        return self.self_norm(x + self.self_attention.join_heads(attend(q, k, v)))


def move_boxes(head: Head, x: Float[Array, "*B C"], boxes: Float[Array, "*B 4"]) -> Float[Array, "*B 4"]:
    """Boxes moved by what a head reads from their queries."""
    return jax.nn.sigmoid(head(x) + logit(boxes))


def move_halves(head: Head, x: Float[Array, "*B C"], halves: Float[Array, "*B 2"]) -> Float[Array, "*B 2"]:
    """The same of centres, or of sides, alone."""
    return jax.nn.sigmoid(head(x) + logit(halves))


def expand(
    x: Float[Array, "B I C"],
    boxes: Float[Array, "B I 4"],
    head: MLP,
    joint_embeddings: Float[Array, "K C"],
    joint_sides: Float[Array, "K 2"],
) -> tuple[Float[Array, "B _ C"], Float[Array, "B _ 4"]]:
    """Each person becomes a person query and a query for every joint: queries and boxes in a row (section 10).

    Args:
        x: queries of the people that are kept.
        boxes: theirs.
        head: moves a joint from its person's centre.
        joint_embeddings: added to the person's query.
        joint_sides: sides of the joints' boxes as logits of shares of the person's.
    """
    joints = x[:, :, None] + joint_embeddings.astype(x.dtype)
    centres = move_halves(head, joints, jnp.broadcast_to(boxes[:, :, None, :2], (*joints.shape[:-1], 2)))
    sides = jax.nn.sigmoid(joint_sides.astype(boxes.dtype)) * boxes[:, :, None, 2:]
    return in_a_row(x, joints), in_a_row(boxes, jnp.concatenate([centres, sides], -1))


def apart(
    x: Float[Array, "B Q c"], denoising: int, members: int
) -> tuple[Float[Array, "B _ c"], Float[Array, "B I K c"]]:
    """A row of queries (or their boxes) -> denoising queries and people, which have boxes; and joints."""
    instances = x[:, denoising:].reshape(x.shape[0], -1, members, x.shape[-1])
    return jnp.concatenate([x[:, :denoising], instances[:, :, 0]], 1), instances[:, :, 1:]


def in_a_row(with_boxes: Float[Array, "B _ c"], joints: Float[Array, "B I K c"]) -> Float[Array, "B Q c"]:
    """The reverse of `apart`."""
    denoising = with_boxes.shape[1] - joints.shape[1]
    instances = jnp.concatenate([with_boxes[:, denoising:, None], joints], 2)
    return jnp.concatenate([with_boxes[:, :denoising], instances.reshape(len(joints), -1, joints.shape[-1])], 1)
