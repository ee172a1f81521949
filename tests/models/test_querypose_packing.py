"""Packed rows: every person has one row, in order; the budget is the smallest rung that fits."""

import jax.numpy as jnp
import numpy as np

from querypose_jax.budget import choose_budget
from querypose_jax.models.querypose.packing import pack_rows, put_rows, take_rows
from querypose_jax.structures import PeopleBudget


def test_rows_follow_pictures_and_ranks():
    people = np.array([2, 0, 1, 3])
    is_person = jnp.asarray(np.arange(3)[None] < people[:, None])
    rows = pack_rows(is_person, PeopleBudget(2, 4))
    assert rows.is_row.tolist() == [[True, True, False, False], [True] * 4]
    assert rows.picture[0, :2].tolist() == [0, 0]
    assert rows.rank[0, :2].tolist() == [0, 1]
    assert rows.picture[1].tolist() == [0, 1, 1, 1]
    assert rows.rank[1].tolist() == [0, 0, 1, 2]


def test_budget_is_the_smallest_rung_for_the_fullest_shard():
    assert choose_budget(np.array([2, 0, 1, 3]), 2, (2, 4, 8)) == PeopleBudget(2, 4)
    assert choose_budget(np.array([0, 0]), 1, (2, 4)) == PeopleBudget(1, 2)
    assert choose_budget(np.array([9, 0]), 1, (2, 4)) == PeopleBudget(1, 12), "beyond the ladder: multiples of the last"


def test_put_undoes_take_and_drops_what_is_out_of_range():
    x = jnp.arange(24.0).reshape(4, 3, 2)
    picture, index = jnp.array([[0, 1], [1, 1]]), jnp.array([[2, 0], [1, 3]])
    taken = take_rows(x, picture, index)
    assert taken[0, 0].tolist() == x[0, 2].tolist()
    assert taken[1, 0].tolist() == x[3, 1].tolist()
    changed = put_rows(x, taken + 100, picture, index)
    expected = np.array(x)
    expected[0, 2] += 100
    expected[1, 0] += 100
    expected[3, 1] += 100
    assert np.array_equal(changed, expected)
