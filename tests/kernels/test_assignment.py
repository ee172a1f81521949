"""Assignment by every solver: optimal, blind to padding, robust to NaN."""

import functools
import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.assignment import SOLVERS, assign
from kernels.assignment.guard import guard_costs

solve = functools.partial(jax.jit, static_argnums=2)(assign)
by_every_solver = pytest.mark.parametrize("solver", SOLVERS)


def best_by_trying(cost):
    """Smallest total cost over all injections of columns into rows."""
    queries, people = cost.shape
    return min(
        sum(cost[row, g] for g, row in enumerate(rows)) for rows in itertools.permutations(range(queries), people)
    )


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), people=st.integers(0, 4), tied=st.booleans())
@by_every_solver
def test_total_cost_is_minimal(solver, seed, people, tied):
    rng = np.random.default_rng(seed)
    cost = (
        rng.integers(0, 3, (1, 6, 4)).astype(np.float32) if tied else rng.standard_normal((1, 6, 4)).astype(np.float32)
    )
    is_person = np.arange(4)[None] < people
    matches = solve(cost, is_person, solver)
    query, person = np.asarray(matches.query)[0, :people], np.asarray(matches.person)[0, :people]
    assert sorted(person) == list(range(people))
    assert len(set(query)) == people
    assert np.all(np.diff(query) > 0), "pairs come by ascending query"
    assert np.isclose(cost[0, query, person].sum(), best_by_trying(cost[0, :, :people]))
    assert np.all(np.asarray(matches.query)[0, people:] == 6)
    assert np.all(np.asarray(matches.person)[0, people:] == 4)


@by_every_solver
def test_padding_columns_do_not_influence_the_assignment(solver):
    rng = np.random.default_rng(0)
    cost = rng.standard_normal((3, 8, 5)).astype(np.float32)
    is_person = np.arange(5)[None] < np.array([[5], [0], [2]])
    loud = np.where(is_person[:, None], cost, np.nan).astype(np.float32)
    quiet, same = (solve(c, is_person, solver) for c in (cost, loud))
    assert np.array_equal(quiet.query, same.query)
    assert np.array_equal(quiet.person, same.person)


@by_every_solver
def test_nan_costs_are_avoided_where_possible(solver):
    cost = np.zeros((1, 3, 2), np.float32)
    cost[0, 0] = np.nan
    cost[0, 1, 0] = np.inf
    matches = solve(cost, np.ones((1, 2), bool), solver)
    assert np.asarray(matches.query).tolist() == [[1, 2]]
    assert np.asarray(matches.person).tolist() == [[1, 0]]


@by_every_solver
def test_no_gradient_flows_through_matching(solver):
    def loss(cost):
        return assign(cost, jnp.ones((1, 2), bool), solver).query.sum() * cost.sum() * 0 + cost.sum()

    assert np.array_equal(jax.grad(loss)(jnp.ones((1, 3, 2))), jnp.ones((1, 3, 2)))


def problems(kind: str, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Costs on which solvers fail: ties, equal and huge numbers, numbers that are none."""
    cost = rng.standard_normal(shape).astype(np.float32)
    if kind == "integers":
        return np.round(cost)
    if kind == "equal":
        return np.full(shape, 1.5, np.float32)
    if kind == "huge":
        return cost * np.float32(1e5) - np.float32(1e5)
    if kind == "products":  # of ranks: shortest paths are as long as they can be
        ranks = [np.arange(1, size + 1, dtype=np.float32) for size in shape[1:]]
        return np.broadcast_to(np.outer(*ranks), shape)
    if kind == "not numbers":
        cost[rng.random(shape) < 0.2] = np.nan
        cost[rng.random(shape) < 0.1] = np.inf
        cost[rng.random(shape) < 0.05] = -np.inf
    return cost


def totals(cost: np.ndarray, matches) -> tuple[np.ndarray, np.ndarray]:
    """Total cost of each picture's pairs, and their number."""
    query, person = np.asarray(matches.query), np.asarray(matches.person)
    is_pair = query < cost.shape[1]
    assert np.array_equal(is_pair, person < cost.shape[2])
    for q, p, pair in zip(query, person, is_pair, strict=True):
        assert len(set(q[pair])) == len(set(p[pair])) == pair.sum()
    finite = np.asarray(guard_costs(jnp.asarray(cost)), np.float64)
    padded = np.pad(finite, ((0, 0), (0, 1), (0, 1)))  # no pair costs nothing
    return padded[np.arange(len(cost))[:, None], query, person].sum(1), is_pair.sum(1)


@pytest.mark.parametrize(("queries", "people"), [(12, 5), (10, 10), (3, 8), (100, 30), (1, 1)])
def test_the_device_finds_the_same_total_cost_as_scipy(queries, people):
    """6,000 pictures in all, with 0 to all slots people, in any order; also with more people than queries."""
    rng = np.random.default_rng(queries)
    for kind in ("normal", "integers", "equal", "huge", "products", "not numbers"):
        cost = problems(kind, rng, (200, queries, people))
        is_person = rng.random((200, people)) < rng.choice([0, 0.3, 0.8, 1], (200, 1))
        (expected, pairs), (actual, same_pairs) = (totals(cost, solve(cost, is_person, solver)) for solver in SOLVERS)
        assert np.array_equal(pairs, np.minimum(is_person.sum(1), queries))
        assert np.array_equal(pairs, same_pairs)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-5, err_msg=kind)


@by_every_solver
def test_stages_in_one_call_are_the_stages_one_by_one(solver):
    rng = np.random.default_rng(3)
    cost = rng.standard_normal((6, 2, 9, 4)).astype(np.float32)
    is_person = np.arange(4) < np.array([[4], [1]])
    together = solve(cost, is_person, solver)
    for stage in range(6):
        alone = solve(cost[stage], is_person, solver)
        assert np.array_equal(together.query[stage], alone.query)
        assert np.array_equal(together.person[stage], alone.person)


ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, numpy as np
from kernels.assignment import assign
from kernels.assignment.callback import give_callbacks_a_thread
give_callbacks_a_thread()
solve = jax.jit(lambda cost, is_person: assign(cost, is_person, "callback"))
for seed in range(6):
    cost = np.random.default_rng(seed).standard_normal((200, 100, 30)).astype(np.float32)
    np.asarray(solve(cost, np.ones((200, 30), bool)).query)
print("solved")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores of a process are chosen on Linux only")
def test_one_core_is_enough_for_large_problems_by_callback():
    done = subprocess.run([sys.executable, "-c", ONE_CORE], capture_output=True, text=True, timeout=60)
    assert done.stdout == "solved\n", done.stderr
