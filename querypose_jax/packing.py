"""Packed rows: which matched (picture, person) pair sits in which row.

In training the pose decoder runs on matched people only. A picture has few people and many slots, so the pairs of
a shard's pictures are packed into R rows: picture by picture, inside a picture by rank (the rank of the matched
query among the picture's matches). The number of people of a picture is the same at all stages, so the
layout is worked out once per step, and what is carried by row is carried "by position" as in the released code.

R is static (it shapes the compiled program) and comes from a short ladder; it is the same on every shard.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from querypose_jax.structures import Packing


def choose_packing(people: np.ndarray, shards: int, ladder: Sequence[int]) -> Packing:
    """The smallest rung that holds the people of every shard.

    Args:
        people: int [B], people per picture of the whole batch; shard d owns the d-th block of B / shards pictures.
        shards: number of devices the batch is split over; must divide B.
        ladder: allowed row counts, ascending; beyond the last rung its multiples are used.
    """
    needed = int(np.asarray(people).reshape(shards, -1).sum(1).max(initial=0))
    fitting = [rung for rung in ladder if rung >= needed]
    rows = min(fitting) if fitting else -(-needed // ladder[-1]) * ladder[-1]
    return Packing(shards, rows)


class Rows(NamedTuple):
    """The layout of a step. `picture` counts inside the shard."""

    picture: Int[Array, "D R"]
    rank: Int[Array, "D R"]
    is_row: Bool[Array, "D R"]


def pack_rows(is_person: Bool[Array, "B G"], packing: Packing) -> Rows:
    """Lays the people of each shard's pictures out in rows; rows beyond the last person have is_row False."""
    shards, rows = packing
    people = is_person.reshape(shards, -1, is_person.shape[-1]).sum(-1)  # [D, pictures of a shard]
    last = jnp.cumsum(people, -1)
    row = jnp.arange(rows)
    picture = (row[None, :, None] >= last[:, None, :]).sum(-1)  # number of pictures that end before this row
    picture = jnp.minimum(picture, people.shape[-1] - 1)
    first = jnp.take_along_axis(last - people, picture, -1)
    is_row = row[None] < last[:, -1:]
    return Rows(picture, jnp.where(is_row, row[None] - first, 0), is_row)


def take_rows(
    x: Shaped[Array, "B T *C"], picture: Int[Array, "D R"], index: Int[Array, "D R"]
) -> Shaped[Array, "D R *C"]:
    """x[picture, index] shard by shard; indices out of range are clipped."""
    x = x.reshape(picture.shape[0], -1, *x.shape[1:])
    return jax.vmap(lambda x, p, i: x.at[p, i].get(mode="clip"))(x, picture, index)


def put_rows(
    x: Shaped[Array, "B T C"], new: Shaped[Array, "D R C"], picture: Int[Array, "D R"], index: Int[Array, "D R"]
) -> Shaped[Array, "B T C"]:
    """x with x[picture, index] = new, shard by shard; indices out of range are written nowhere."""
    by_shard = x.reshape(picture.shape[0], -1, *x.shape[1:])
    put = jax.vmap(lambda x, p, i, new: x.at[p, i].set(new, mode="drop"))
    return put(by_shard, picture, index, new.astype(x.dtype)).reshape(x.shape)
