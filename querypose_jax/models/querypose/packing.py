"""Packed rows: which matched (picture, person) pair sits in which row.

In training the pose decoder runs on matched people only. A picture has few people and many slots, so the pairs of
a shard's pictures are packed into R rows: picture by picture, inside a picture by rank (the rank of the matched
query among the picture's matches). The number of people of a picture is the same at all stages, so the
layout is worked out once per step, and what is carried by row is carried "by position" as in the released code.

R is static (it shapes the compiled program): the batch's budget of people, the same on every shard.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

from querypose_jax.models.querypose.pose_decoder import RowGroups
from querypose_jax.structures import Batch, PeopleBudget


class Rows(NamedTuple):
    """The layout of a step. `picture` counts inside the shard."""

    picture: Int[Array, "D R"]
    rank: Int[Array, "D R"]
    is_row: Bool[Array, "D R"]


def pack_rows(is_person: Bool[Array, "B G"], budget: PeopleBudget) -> Rows:
    """Lays the people of each shard's pictures out in rows; rows beyond the last person have is_row False."""
    shards, rows = budget
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


def training_layout(batch: Batch, pictures_per_group: int) -> tuple[Rows, RowGroups]:
    """The packed rows of a step, and their batch-norm groups: runs of neighbouring pictures of the batch."""
    pictures, slots = batch.is_person.shape
    budget = batch.budget or PeopleBudget(1, pictures * slots)
    rows = pack_rows(batch.is_person, budget)
    per_group = pictures_per_group or pictures
    picture = rows.picture + jnp.arange(budget.shards)[:, None] * (pictures // budget.shards)
    groups = RowGroups(rows.is_row.ravel(), (picture // per_group).ravel(), -(-pictures // per_group))
    return rows, groups
