"""The two kinds of attention: to a few places of maps (section 5), and among queries (section 9)."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from kernels.deformable_attention import deformable_attention
from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import at_least_float32, linear

Shapes = Sequence[tuple[int, int]]


def sampling_locations(
    references: Float[Array, "B Q L c"], offsets: Float[Array, "B Q heads L P 2"], shapes: Shapes
) -> Float[Array, "B Q heads L P 2"]:
    """Where queries sample, in [0, 1] of the padded maps (section 5, step 4).

    Args:
        references: points (x, y), or boxes (cx, cy, w, h), of each query in units of each level's padded map.
        offsets: from points in cells of the level, from boxes' centres in half sides times P.
        shapes: height, width of the levels.
    """
    references = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        size = np.array([(width, height) for height, width in shapes])[:, None]
        return references + offsets / size.astype(offsets.dtype)
    return references[..., :2] + offsets / offsets.shape[-2] * references[..., 2:] * 0.5


def ring_offsets(heads: int, levels: int, points: int) -> Float[np.ndarray, "heads levels points 2"]:
    """Initial offsets: point i of a head lies i + 1 steps along the head's direction, on squares around the reference.

    Group Pose's own module starts with zeros where P is no multiple of 4; all that is released has P = 4.
    """
    angle = 2 * math.pi * np.arange(heads) / heads
    direction = np.stack([np.cos(angle), np.sin(angle)], -1)
    direction /= np.abs(direction).max(-1, keepdims=True)
    rings = direction[:, None, None] * np.arange(1, points + 1)[:, None]
    return np.broadcast_to(rings, (heads, levels, points, 2))


class DeformableAttention(nnx.Module):
    """Multi-scale deformable attention as a layer: projections around `kernels.deformable_attention`.

    Offsets, attention and locations are computed in at least float32: at column 136 a bfloat16 step is a whole cell.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int, dtype: jnp.dtype, rngs: Rngs):
        wide, zeros = at_least_float32(dtype), nnx.initializers.zeros
        self.grid = (heads, levels, points)
        count = heads * levels * points
        rings = ring_offsets(*self.grid).ravel()
        self.offsets = linear(width, 2 * count, wide, rngs, bias=nnx.initializers.constant(rings), kernel_init=zeros)
        self.attention = linear(width, count, wide, rngs, bias="zero", kernel_init=zeros)
        self.values = linear(width, width, dtype, rngs, bias="zero")
        self.output = linear(width, width, dtype, rngs, bias="zero")

    def __call__(
        self,
        queries: Float[Array, "B Q C"],
        references: Float[Array, "B Q L c"],
        memory: Float[Array, "B T C"],
        shapes: Shapes,
        is_valid: Bool[Array, "B T"] | None = None,
    ) -> Float[Array, "B Q C"]:
        """
        Args:
            queries: with their positions added.
            references: see `sampling_locations`; at least float32.
            memory: tokens of all levels.
            shapes: height, width of the levels.
            is_valid: False for tokens that count as zero, after the projection of the values.
        """
        locations, weights = self.samples(queries, references, shapes)
        values = self.values(memory)
        if is_valid is not None:
            values = jnp.where(is_valid[..., None], values, 0)
        values = values.reshape(*values.shape[:2], self.grid[0], -1)
        return self.output(deformable_attention(values, shapes, locations, weights))

    def samples(
        self, queries: Float[Array, "B Q C"], references: Float[Array, "B Q L c"], shapes: Shapes
    ) -> tuple[Float[Array, "B Q heads L P 2"], Float[Array, "B Q heads L P"]]:
        """Locations of the samples in [0, 1] of the padded maps, and their weights, which add up to 1 in each head."""
        heads, levels, points = self.grid
        offsets = self.offsets(queries).reshape(*queries.shape[:2], heads, levels, points, 2)
        logits = self.attention(queries).reshape(*queries.shape[:2], heads, levels * points)
        weights = jax.nn.softmax(logits, -1).reshape(offsets.shape[:-1])
        return sampling_locations(references.astype(offsets.dtype), offsets, shapes), weights


class QueryAttention(nnx.Module):
    """Multi-head attention among queries, softmax(q k^T / sqrt(C / heads)) v, where v may lack what q and k hold.

    Parameters as `layers.attention.SelfAttention` has them.
    """

    def __init__(self, width: int, heads: int, dtype: jnp.dtype, rngs: Rngs):
        self.heads = heads
        self.in_proj = linear(width, 3 * width, dtype, rngs, bias="zero")
        self.out_proj = linear(width, width, dtype, rngs, bias="zero")

    def __call__(
        self,
        queries: Float[Array, "*B Q C"],
        values: Float[Array, "*B Q C"] | None = None,
        is_seen: Bool[Array, "*#B Q Q"] | None = None,
    ) -> Float[Array, "*B Q C"]:
        """
        Args:
            queries: q and k are projected from these.
            values: v is projected from these; None: from the queries too.
            is_seen: [..., i, j] says whether query i sees query j; None: everybody sees everybody.
        """
        return self.join_heads(attend(*self.project(queries, values), is_seen))

    def project(
        self, queries: Float[Array, "*B Q C"], values: Float[Array, "*B Q C"] | None = None
    ) -> tuple[Float[Array, "*B Q heads c"], Float[Array, "*B Q heads c"], Float[Array, "*B Q heads c"]]:
        """q, k and v of all heads; arguments as above."""
        width = queries.shape[-1]
        if values is None:
            packed = self.in_proj(queries)
            q, k, v = packed[..., :width], packed[..., width : 2 * width], packed[..., 2 * width :]
        else:
            q, k, v = self.project_part(queries, 0), self.project_part(queries, 1), self.project_part(values, 2)
        q, k, v = (x.reshape(*x.shape[:-1], self.heads, -1) for x in (q, k, v))
        return q, k, v

    def project_part(self, x: Float[Array, "*B Q C"], part: int) -> Float[Array, "*B Q C"]:
        """Part 0, 1 or 2 of the packed projection: q, k or v."""
        width = x.shape[-1]
        columns = slice(part * width, (part + 1) * width)
        dtype = self.in_proj.dtype
        kernel, bias = self.in_proj.kernel[...][:, columns], self.in_proj.bias[...][columns]
        return x.astype(dtype) @ kernel.astype(dtype) + bias.astype(dtype)

    def join_heads(self, attended: Float[Array, "*B Q heads c"]) -> Float[Array, "*B Q C"]:
        """What the heads have seen, side by side, through the output projection."""
        return self.out_proj(attended.reshape(*attended.shape[:-2], -1))


def attend(
    q: Float[Array, "*B Q heads c"],
    k: Float[Array, "*B R heads c"],
    v: Float[Array, "*B R heads c"],
    is_seen: Bool[Array, "*#B Q R"] | None = None,
) -> Float[Array, "*B Q heads c"]:
    """softmax(q k^T / sqrt(c)) v of each head; `is_seen` as in `QueryAttention`."""
    logits = jnp.einsum("...qhc,...khc->...hqk", q, k).astype(at_least_float32(q.dtype)) * q.shape[-1] ** -0.5
    if is_seen is not None:
        logits = jnp.where(is_seen[..., None, :, :], logits, -jnp.inf)
    weights = jax.nn.softmax(logits, -1).astype(v.dtype)
    return jnp.einsum("...hqk,...khc->...qhc", weights, v)
