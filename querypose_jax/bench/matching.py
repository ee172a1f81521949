"""Hungarian matching: scipy in a callback and the solver on the device, beside scipy alone.

    python -m querypose_jax.bench matching --config=configs/coco_r50.py

The floor is scipy on the same costs without jax around it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from scipy.optimize import linear_sum_assignment

from kernels.assignment import SOLVERS, assign
from querypose_jax.bench.options import Options
from querypose_jax.bench.timing import ratio, table, take_turns

CASES = ((30, 2), (30, 16), (100, 16))  # people slots, pictures
QUERIES = 100  # predictions of a picture
REAL = (4, 30, 100)  # real people of each picture


def run(config: ConfigDict, options: Options) -> str:
    """Times both solvers on random costs; returns the table."""
    rows = []
    for slots, pictures in CASES:
        for people in (count for count in REAL if count <= slots):
            rng = np.random.default_rng(people)
            cost = rng.uniform(0, 10, (pictures, QUERIES, slots)).astype(np.float32)
            is_person = np.tile(np.arange(slots) < people, (pictures, 1))
            times = take_turns(candidates(cost, is_person), options.rounds)
            floor = times["scipy alone"]
            rows += [
                [f"{pictures} x {slots}", str(people), name, f"{t.median * 1e3:.2f}", f"{ratio(t, floor):.2f}"]
                for name, t in times.items()
            ]
    head = ["pictures x slots", "people", "what", "median ms", "of scipy alone"]
    return f"{jax.devices()[0].device_kind}, {QUERIES} queries\n\n{table(head, rows)}"


def candidates(cost: np.ndarray, is_person: np.ndarray) -> dict:
    """scipy alone and both solvers on cost [B, N, G] and is_person [B, G]."""
    on_device = jnp.asarray(cost), jnp.asarray(is_person)

    def alone() -> None:
        for one, real in zip(cost, is_person, strict=True):
            linear_sum_assignment(one[:, real])

    def solve(solver):
        compiled = jax.jit(lambda cost, is_person: assign(cost, is_person, solver))
        return lambda: jax.block_until_ready(compiled(*on_device))

    return {"scipy alone": alone} | {solver: solve(solver) for solver in SOLVERS}
