"""Assignment: optimal, blind to padding, robust to NaN, local to each device."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.assignment import assign


def best_by_trying(cost):
    """Smallest total cost over all injections of columns into rows."""
    queries, people = cost.shape
    return min(
        sum(cost[row, g] for g, row in enumerate(rows)) for rows in itertools.permutations(range(queries), people)
    )


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), people=st.integers(0, 4), tied=st.booleans())
def test_total_cost_is_minimal(seed, people, tied):
    rng = np.random.default_rng(seed)
    cost = (
        rng.integers(0, 3, (1, 6, 4)).astype(np.float32) if tied else rng.standard_normal((1, 6, 4)).astype(np.float32)
    )
    is_person = np.arange(4)[None] < people
    matches = assign(jnp.asarray(cost), jnp.asarray(is_person))
    query, person = np.asarray(matches.query)[0, :people], np.asarray(matches.person)[0, :people]
    assert sorted(person) == list(range(people))
    assert len(set(query)) == people
    assert np.all(np.diff(query) > 0), "pairs come by ascending query"
    assert np.isclose(cost[0, query, person].sum(), best_by_trying(cost[0, :, :people]))
    assert np.all(np.asarray(matches.query)[0, people:] == 6)
    assert np.all(np.asarray(matches.person)[0, people:] == 4)


def test_padding_columns_do_not_influence_the_assignment():
    rng = np.random.default_rng(0)
    cost = rng.standard_normal((3, 8, 5)).astype(np.float32)
    is_person = np.arange(5)[None] < np.array([[5], [0], [2]])
    loud = np.where(is_person[:, None], cost, np.nan).astype(np.float32)
    quiet, same = (assign(jnp.asarray(c), jnp.asarray(is_person)) for c in (cost, loud))
    assert np.array_equal(quiet.query, same.query)
    assert np.array_equal(quiet.person, same.person)


def test_nan_costs_are_avoided_where_possible():
    cost = np.zeros((1, 3, 2), np.float32)
    cost[0, 0] = np.nan
    cost[0, 1, 0] = np.inf
    matches = assign(jnp.asarray(cost), jnp.ones((1, 2), bool))
    assert np.asarray(matches.query).tolist() == [[1, 2]]
    assert np.asarray(matches.person).tolist() == [[1, 0]]


def test_no_gradient_flows_through_matching():
    def loss(cost):
        return assign(cost, jnp.ones((1, 2), bool)).query.sum() * cost.sum() * 0 + cost.sum()

    assert np.array_equal(jax.grad(loss)(jnp.ones((1, 3, 2))), jnp.ones((1, 3, 2)))
