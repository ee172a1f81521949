"""Three steps, the second of them not finite: python -m tests.multi_device.skipping RULE FILE.npz, on eight devices.

Writes every array of the states before, between and after (0/NAME .. 3/NAME), `skipped`, and how many arrays are split.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.checkpoints.checkpoint import named_leaves
from querypose_jax.checkpoints.train_state import TrainState, init_state, shardings
from querypose_jax.devices import sharding
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_train_step
from tests.training.fakes import FakeModel, fake_batches, fake_config

WIDTH = 40_000  # its matrices are large enough to be split
PICTURES, POISONED, STEPS = 8, 1, 3


def arrays(state: TrainState) -> dict[str, np.ndarray]:
    """Parameters, statistics and moments, copied: the next step takes the state's memory."""
    return {name: np.array(leaf) for name, leaf in named_leaves((state.params, state.rest, state.opt_state)).items()}


def main(rule: str, path: str) -> None:
    config = fake_config()
    optimizer = make_optimizer(config.optimizer, config.train.num_steps)
    schedule = learning_rate(config.optimizer, config.train.num_steps)
    mesh = sharding.make_mesh(ConfigDict({"data": 2, "fsdp": 4}))
    batches = fake_batches(PICTURES, POISONED)(0)
    with jax.set_mesh(mesh):
        graphdef, state = init_state(FakeModel(nnx.Rngs(0), WIDTH), optimizer)
        state = jax.device_put(state, shardings(state, rule, mesh))
        step = make_train_step(graphdef, optimizer, schedule, mesh, rule)
        split = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
        results, skipped = {f"0/{name}": x for name, x in arrays(state).items()}, []
        for number in range(1, STEPS + 1):
            state, metrics = step(state, sharding.put_batch(next(batches), mesh))
            results |= {f"{number}/{name}": x for name, x in arrays(state).items()}
            skipped.append(bool(metrics["skipped"]))
    np.savez(Path(path), skipped=skipped, split=split, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
