"""Hungarian matching of a training step on a GPU: scipy in a callback and the solver on the device."""

from collections.abc import Callable
from functools import partial

import numpy as np

from kernels.assignment import SOLVERS
from querypose_jax.bench.gpu.measure import Work, time_by_turns, write_times
from querypose_jax.bench.gpu.sheet import Sheet
from querypose_jax.bench.matching import QUERIES, candidates

# Problems (pictures, or pictures x stages), slots, real people of each.
CASES = ((2, 30, 4), (16, 30, 4), (16, 30, 30), (16, 100, 100), (96, 30, 4))


def matching_times(sheet: Sheet) -> None:
    """Random costs that lie on the device; a call ends when its matches are there."""
    with sheet.alone():
        for problems, slots, people in CASES[:1] if sheet.sizes.is_tiny else CASES:
            rng = np.random.default_rng(people)
            cost = rng.uniform(0, 10, (problems, QUERIES, slots)).astype(np.float32)
            is_person = np.tile(np.arange(slots) < people, (problems, 1))
            found = candidates(cost, is_person)
            runs = {name: partial(repeat, found[name]) for name in (*SOLVERS, "scipy alone")}
            case = f"{problems} x {slots} slots, {people} people"
            write_times(sheet, case, time_by_turns(sheet, runs), {}, {"": Work()})


def repeat(call: Callable[[], object], calls: int) -> None:
    """One call after the other: a training step waits for its matches."""
    for _ in range(calls):
        call()
