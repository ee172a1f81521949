"""Sums of parts are the same to the bit in any order, and as close as float32 gets."""

import jax.numpy as jnp
import numpy as np

from kernels.exact_sums import PARTS, cut, grids, joined


def test_any_order_of_adding_gives_the_same_bits():
    """5,000 float32 numbers over eight magnitudes, added one after the other in three orders; plain sums differ."""
    rng = np.random.default_rng(0)
    numbers = (rng.standard_normal(5000) * 10.0 ** rng.uniform(-6, 2, 5000)).astype(np.float32)
    parts, rest = [], jnp.asarray(numbers)
    for step in grids(jnp.abs(rest).max() * numbers.size, numbers.size):
        part, rest = cut(rest, step)
        parts.append(np.asarray(part))
    assert len(parts) == PARTS
    orders = [rng.permutation(numbers.size) for _ in range(3)]
    sums = [[np.cumsum(part[order], dtype=np.float32)[-1] for part in parts] for order in orders]
    assert sums[0] == sums[1] == sums[2]
    plain = [np.cumsum(numbers[order], dtype=np.float32)[-1] for order in orders]
    assert len(set(plain)) > 1
    exact = numbers.astype(np.float64).sum()
    error = abs(joined([jnp.asarray(part) for part in sums[0]]) - exact)
    assert error < min(abs(one - exact) for one in plain)


def test_sums_of_nothing_are_zero():
    steps = grids(jnp.float32(0), 10)
    assert all(np.array_equal(x, np.zeros(3)) for step in steps for x in cut(jnp.zeros(3), step))
