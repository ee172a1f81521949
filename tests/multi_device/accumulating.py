"""Two steps in micro-batches and whole, under two rules: python -m tests.multi_device.accumulating FILE.npz, on four
devices. Writes RULE/PARTS/NAME, the parameters after them."""

import sys
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.checkpoints.checkpoint import named_leaves
from querypose_jax.checkpoints.train_state import init_state, shardings
from querypose_jax.devices import sharding
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_train_step
from tests.models.grouppose.small_model import people_batch
from tests.training.fakes import fake_config
from tests.training.test_accumulation import PEOPLE, SumModel

WIDTH = 4000  # its matrices are large enough to be split


def main(path: str) -> None:
    config = fake_config()
    optimizer, schedule = make_optimizer(config.optimizer, 12), learning_rate(config.optimizer, 12)
    mesh = sharding.make_mesh(ConfigDict({"data": 2, "fsdp": 2}))
    found = {}
    with jax.set_mesh(mesh):
        batch = sharding.put_batch(people_batch(PEOPLE), mesh)
        for rule in ("replicated", "fsdp"):
            for parts in (1, 2):
                graphdef, state = init_state(SumModel(nnx.Rngs(0), WIDTH), optimizer)
                state = jax.device_put(state, shardings(state, rule, mesh))
                step = make_train_step(graphdef, optimizer, schedule, mesh, rule, accumulate=parts)
                for _ in range(2):
                    state, metrics = step(state, batch)
                found[f"{rule}/{parts}/loss"] = np.array(metrics["loss/total"])
                found |= {f"{rule}/{parts}/{name}": np.array(x) for name, x in named_leaves(state.params).items()}
                split = sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(state.params))
                assert (split > 0) == (rule == "fsdp")
    np.savez(Path(path), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
