"""Two-stage selection (section 7): every token proposes a place, the best ones become queries."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Shaped

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import layer_norm, linear
from querypose_jax.models.deformable.heads import class_head
from querypose_jax.models.deformable.tokens import Tokens, cell_centres, cell_numbers, token_levels

REJECTED = (
    1e4  # logit of rejected proposals: its sigmoid is exactly 1 and gradients stay finite, unlike the released inf
)
FIRST_SIDE = 0.05  # side of a proposal on the finest level, doubled from level to level


class Proposals(NamedTuple):
    """What each token proposes."""

    logits: Float[Array, "B T 4"]
    """Inverse sigmoid of a box (cx, cy, w, h) around the cell; REJECTED where not kept."""
    is_kept: Bool[Array, "B T"]
    """Valid tokens whose box lies strictly between 0.01 and 0.99, all four numbers."""


def make_proposals(tokens: Tokens) -> Proposals:
    """Boxes of 0.05 * 2^level of the picture around each cell.

    Whether a centre (2 j + 1) / (2 n) lies between 1 / 100 and 99 / 100 is decided in whole numbers: with 50 or 150
    valid columns one lies exactly on the limit.
    """
    level = token_levels(tokens.shapes)
    centre = cell_centres(tokens)
    side = FIRST_SIDE * 2.0**level
    odd, valid = 2 * cell_numbers(tokens.shapes) + 1, tokens.valid_cells[:, level]
    is_inside = ((50 * odd > valid) & (50 * odd < 99 * valid)).all(-1)
    is_kept = is_inside & tokens.is_valid & ((side > 0.01) & (side < 0.99))
    sides = np.broadcast_to(np.stack([side, side], -1), centre.shape)
    boxes = jnp.concatenate([centre, jnp.asarray(sides, centre.dtype)], -1)
    boxes = jnp.where(is_kept[..., None], boxes, 0.5)
    return Proposals(jnp.where(is_kept[..., None], jnp.log(boxes / (1 - boxes)), REJECTED), is_kept)


class TokenScores(nnx.Module):
    """Linear, LayerNorm and a class head on the memory; the memory of rejected tokens is zero."""

    def __init__(self, width: int, columns: int, dtype: jnp.dtype, rngs: Rngs):
        self.output = linear(width, width, dtype, rngs)
        self.norm = layer_norm(width, dtype, rngs)
        self.classes = class_head(width, columns, dtype, rngs)

    def __call__(
        self, memory: Float[Array, "B T C"], is_kept: Bool[Array, "B T"]
    ) -> tuple[Float[Array, "B T C"], Float[Array, "B T _"]]:
        """The tokens as queries would start from them, and their class logits.

        Rejected tokens all have the same score, that of a zero vector, and may be selected.
        """
        queries = self.norm(self.output(jnp.where(is_kept[..., None], memory, 0)))
        return queries, self.classes(queries)


def best(logits: Float[Array, "B T _"], count: int) -> Int[Array, "B {count}"]:
    """The `count` rows with the largest logit in any column, best first; of equal ones the first."""
    return jax.lax.top_k(jax.lax.stop_gradient(logits).max(-1), count)[1]


def take(x: Shaped[Array, "B T *_"], index: Int[Array, "B N"]) -> Shaped[Array, "B N *_"]:
    """Rows x[b, index[b]]."""
    return jax.vmap(lambda x, index: x[index])(x, index)


class Selected(NamedTuple):
    """The tokens that become queries, best first."""

    token: Int[Array, "B N"]
    content: Float[Array, "B N C"]
    logits: Float[Array, "B N c"]
    proposals: Float[Array, "B N 4"]
    """Logits of their boxes."""


def select(scores: TokenScores, tokens: Tokens, memory: Float[Array, "B T C"], count: int) -> Selected:
    """The `count` best tokens, or all where there are fewer."""
    proposals = make_proposals(tokens)
    queries, logits = scores(memory, proposals.is_kept)
    token = best(logits, min(count, logits.shape[1]))
    return Selected(token, take(queries, token), take(logits, token), take(proposals.logits, token))
