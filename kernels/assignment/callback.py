"""One-to-one assignment on the host: scipy behind a callback."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from kernels.assignment.guard import guard_costs


def _solve(cost: Array | np.ndarray, is_person: Array | np.ndarray) -> np.ndarray:
    """cost [B, N, G] -> query of each person [B, G], N where there is no person."""
    from scipy.optimize import linear_sum_assignment  # 0.7 s that a command's help need not wait for

    queries = cost.shape[1]
    query = np.full(is_person.shape, queries, np.int32)
    for picture, (matrix, mask) in enumerate(zip(np.asarray(cost), np.asarray(is_person), strict=True)):
        people = np.flatnonzero(mask)
        rows, columns = linear_sum_assignment(matrix[:, people])
        query[picture, people[columns]] = rows
    return query


def assign_callback(cost: Float[Array, "B N G"], is_person: Bool[Array, "B G"]) -> Int[Array, "B G"]:
    """The query of each person, N where there is none; see `kernels.assignment.assign`."""
    result = jax.ShapeDtypeStruct(is_person.shape, jnp.int32)
    return jax.pure_callback(_solve, result, guard_costs(cost), is_person, vmap_method="sequential")


def give_callbacks_a_thread() -> None:
    """For programs, before anything runs: XLA's CPU pool gets two threads where there is one core.

    A callback reads a large array only after the pool has copied it. The one thread of a pool is waiting for the
    callback, for ever (jax issue 24255).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores == 1:
        os.environ.setdefault("NPROC", "2")  # XLA reads it when it makes the pool
