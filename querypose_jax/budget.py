"""How many people a device's part of a training batch may have: static, so that the plan decides what is compiled."""

from collections.abc import Sequence

import numpy as np

from querypose_jax.structures import PeopleBudget


def choose_budget(people: np.ndarray, shards: int, ladder: Sequence[int]) -> PeopleBudget | None:
    """The smallest rung that holds the people of every shard; None where the ladder has no rungs.

    Args:
        people: int [B], people per picture of the whole batch; shard d owns the d-th block of B / shards pictures.
        shards: number of devices the batch is split over; must divide B.
        ladder: allowed numbers, ascending; beyond the last rung its multiples are used.
    """
    if not ladder:
        return None
    needed = int(np.asarray(people).reshape(shards, -1).sum(1).max(initial=0))
    fitting = [rung for rung in ladder if rung >= needed]
    return PeopleBudget(shards, min(fitting) if fitting else -(-needed // ladder[-1]) * ladder[-1])
