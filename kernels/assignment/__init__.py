"""Minimum-cost one-to-one assignment of people to queries (Hungarian matching)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from kernels.assignment.callback import assign_callback
from kernels.assignment.device import assign_device


class Matches(NamedTuple):
    """Matched pairs of each picture by ascending query; entries beyond the number of people hold query N, person G."""

    query: Int[Array, "*S B G"]
    person: Int[Array, "*S B G"]


SOLVERS = {"callback": assign_callback, "device": assign_device}


def assign(cost: Float[Array, "*S B N G"], is_person: Bool[Array, "B G"], solver: str = "callback") -> Matches:
    """Finds for each picture the assignment of its people to different queries with the smallest total cost.

    Every device solves the pictures it holds: without the shard_map XLA would gather all costs to one device.

    Args:
        cost: cost of query n for person g; NaN and infinities count as very expensive. No gradient. Leading axes hold
            further problems with the same people (stages); all are solved in one call.
        is_person: which columns are people; others never influence the assignment. Of more than N, N are matched.
        solver: "callback" asks scipy on the host, "device" solves on the device. Where several assignments cost the
            same the two may choose different ones.
    """
    stages = cost.shape[:-3]

    def solve(cost: Array, is_person: Array) -> Array:
        problems = jnp.broadcast_to(is_person, (*stages, *is_person.shape))
        query = SOLVERS[solver](cost.reshape(-1, *cost.shape[-2:]), problems.reshape(-1, problems.shape[-1]))
        return query.reshape(problems.shape)

    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        by_picture = PartitionSpec(mesh.axis_names)
        of_stages = PartitionSpec(*[None] * len(stages), mesh.axis_names)
        solve = jax.shard_map(solve, mesh=mesh, in_specs=(of_stages, by_picture), out_specs=of_stages, check_vma=False)
    return by_query(solve(jax.lax.stop_gradient(cost), is_person), cost.shape[-2])


def by_query(query: Int[Array, "*S G"], queries: int) -> Matches:
    """Sorts the pairs of each picture by query: the order in which released code carries part queries."""
    order = jnp.argsort(query, -1)
    query = jnp.take_along_axis(query, order, -1)
    return Matches(query, jnp.where(query < queries, order, query.shape[-1]).astype(jnp.int32))
