"""Sums of float32 numbers that do not depend on the order of adding: what atomics need to give the same bits each time.

A number is cut into PARTS: the first is rounded to a grid so coarse that no sum of such parts is ever rounded, the next
holds what the first left, on its own finer grid, and so on (Demmel and Nguyen 2013). Parts are added up apart, in any
order, and put together at the end. Three parts lose less than float32 itself does.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

PARTS = 3
BITS = 23  # sums of a part stay below 2^BITS grid steps, half of what float32 holds exactly


def grids(bound: Float[Array, ""], count: int) -> Float[Array, " parts"]:
    """Steps of the grids, powers of two.

    Args:
        bound: no sum of magnitudes is larger, and it does not depend on an order itself: a maximum times a count.
        count: numbers of one sum at most.
    """
    steps = []
    for _ in range(PARTS):
        _, exponent = jnp.frexp(bound)  # bound < 2^exponent
        steps.append(jnp.ldexp(jnp.ones_like(bound), exponent - BITS))
        bound = steps[-1] * (count / 2)  # what rounding to the grid leaves is at most half a step each
    return jnp.stack(steps)


def cut(number: Float[Array, "*S"], step: Float[Array, ""]) -> tuple[Float[Array, "*S"], Float[Array, "*S"]]:
    """The part on the grid, and the rest; exact."""
    part = jnp.floor(number * (1 / step) + 0.5) * step
    return part, number - part


def joined(parts: Sequence[Float[Array, "*S"]]) -> Float[Array, "*S"]:
    """The sum, from sums of the parts, coarsest first."""
    total = parts[-1]
    for part in reversed(parts[:-1]):
        total = total + part
    return total
