"""Who sees whom among the queries (sections 8 and 10), without scores that would be masked.

Arguments are q, k and v of all heads, as `QueryAttention.project` gives them. With 100 instances of 18 queries a person
takes one softmax over 117 keys and a joint over 18, where a mask would hide most of 1,800.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from querypose_jax.layers.linear import at_least_float32
from querypose_jax.models.deformable.attention import attend


def attend_people(
    q: Float[Array, "B Q heads c"],
    k: Float[Array, "B Q heads c"],
    v: Float[Array, "B Q heads c"],
    own_block: Bool[Array, "B D D"] | None,
) -> Float[Array, "B Q heads c"]:
    """Of the human decoder: every person sees all people.

    `own_block` [b, i, j] says whether denoising query i sees denoising query j; None: there are none.
    """
    if own_block is None:
        return attend(q, k, v)
    rows = own_block.shape[-1]
    people = attend(q[:, rows:], k[:, rows:], v[:, rows:])
    return jnp.concatenate([attend_denoising(q, k, v, own_block), people], 1)


def attend_instances(
    q: Float[Array, "B Q heads c"],
    k: Float[Array, "B Q heads c"],
    v: Float[Array, "B Q heads c"],
    own_block: Bool[Array, "B D D"] | None,
    members: int,
) -> Float[Array, "B Q heads c"]:
    """Of the human-to-keypoint decoder: a joint sees its own instance, a person all other people too.

    `members` is J, the queries of an instance; `own_block` as above.
    """
    if own_block is None:
        return attend_members(q, k, v, members)
    rows = own_block.shape[-1]
    instances = attend_members(q[:, rows:], k[:, rows:], v[:, rows:], members)
    return jnp.concatenate([attend_denoising(q, k, v, own_block), instances], 1)


def attend_denoising(
    q: Float[Array, "B Q heads c"],
    k: Float[Array, "B Q heads c"],
    v: Float[Array, "B Q heads c"],
    own_block: Bool[Array, "B D D"],
) -> Float[Array, "B D heads c"]:
    """Denoising queries see those of their own block and all others; nobody else sees them."""
    rows, queries = own_block.shape[-1], q.shape[1]
    is_seen = jnp.pad(own_block, ((0, 0), (0, 0), (0, queries - rows)), constant_values=True)
    return attend(q[:, :rows], k, v, is_seen)


def attend_members(
    q: Float[Array, "B Q heads c"], k: Float[Array, "B Q heads c"], v: Float[Array, "B Q heads c"], members: int
) -> Float[Array, "B Q heads c"]:
    """Instances alone. A person's own instance and the other people share one softmax."""
    shape = q.shape
    q, k, v = (x.reshape(shape[0], -1, members, *shape[2:]) for x in (q, k, v))
    scale, wide = shape[-1] ** -0.5, at_least_float32(q.dtype)
    within = jnp.einsum("bijhc,bikhc->bihjk", q, k).astype(wide) * scale
    across = jnp.einsum("bihc,bjhc->bihj", q[:, :, 0], k[:, :, 0]).astype(wide) * scale
    is_self = jnp.eye(across.shape[1], dtype=bool)[:, None]  # stands in `within` already
    across = jnp.where(is_self, -jnp.inf, across)

    joint_weights = jax.nn.softmax(within[..., 1:, :], -1).astype(v.dtype)
    joints = jnp.einsum("bihjk,bikhc->bijhc", joint_weights, v)
    weights = jax.nn.softmax(jnp.concatenate([within[..., 0, :], across], -1), -1).astype(v.dtype)
    of_own = jnp.einsum("bihk,bikhc->bihc", weights[..., :members], v)
    of_others = jnp.einsum("bihj,bjhc->bihc", weights[..., members:], v[:, :, 0])
    return jnp.concatenate([(of_own + of_others)[:, :, None], joints], 2).reshape(shape)
