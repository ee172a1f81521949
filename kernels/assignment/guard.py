"""Costs that every solver can work with."""

import jax
import jax.numpy as jnp

HUGE_COST = 1e6  # stands for NaN and infinities: far above any cost of a finite prediction


def guard_costs(cost: jax.Array) -> jax.Array:
    """NaN and infinities become very expensive, minus infinity very cheap."""
    return jnp.nan_to_num(cost, nan=HUGE_COST, posinf=HUGE_COST, neginf=-HUGE_COST)
