"""Turns and ratios, on candidates whose times are known."""

import numpy as np

from querypose_jax.bench import timing


def test_candidates_take_turns_after_one_warm_up_each():
    calls = []
    times = timing.take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert "".join(calls) == "abababab"
    assert {name: t.wall.shape for name, t in times.items()} == {"a": (3,), "b": (3,)}


def test_the_ratio_is_taken_inside_each_round_so_that_a_slow_machine_cancels():
    slowdown = np.array([1.0, 10.0, 1.0, 7.0, 1.0])
    a, b = (timing.Times(seconds * slowdown, seconds * slowdown) for seconds in (3.0, 2.0))
    assert timing.ratio(a, b) == 1.5


def test_median_and_spread_by_hand():
    times = timing.Times(np.array([1.0, 2.0, 3.0, 4.0, 100.0]), np.zeros(5))
    assert times.median == 3.0
    assert times.spread == 1.0  # quartiles 2 and 4


def test_a_table_is_markdown_with_columns_in_line():
    assert timing.table(["what", "ms"], [["all", "1"]]) == "| what | ms |\n|------|----|\n| all  | 1  |"
