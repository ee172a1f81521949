"""Minimum-cost one-to-one assignment of people to queries (Hungarian matching)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from kernels.assignment.callback import assign_callback


class Matches(NamedTuple):
    """Matched pairs of each picture by ascending query; entries beyond the number of people hold query N, person G."""

    query: Int[Array, "*S B G"]
    person: Int[Array, "*S B G"]


def assign(cost: Float[Array, "B N G"], is_person: Bool[Array, "B G"]) -> Matches:
    """Finds for each picture the assignment of its people to different queries with the smallest total cost.

    Every device solves the pictures it holds: without the shard_map XLA would gather all costs to one device.

    Args:
        cost: cost of query n for person g; NaN and infinities count as very expensive. No gradient.
        is_person: which columns are people; others never influence the assignment. At most N of a picture.
    """
    cost = jax.lax.stop_gradient(cost)
    solve = assign_callback
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        by_picture = PartitionSpec(mesh.axis_names)
        solve = jax.shard_map(
            solve, mesh=mesh, in_specs=(by_picture, by_picture), out_specs=by_picture, check_vma=False
        )
    return by_query(solve(cost, is_person), cost.shape[1])


def by_query(query: Int[Array, "B G"], queries: int) -> Matches:
    """Sorts the pairs of each picture by query: the order in which released code carries part queries."""
    order = jnp.argsort(query, -1)
    query = jnp.take_along_axis(query, order, -1)
    return Matches(query, jnp.where(query < queries, order, query.shape[-1]).astype(jnp.int32))
