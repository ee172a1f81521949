"""Moving averages on several devices: python -m tests.multi_device.averaging FILE.npz, on eight devices.

Five steps, the third of them not finite, in float64 on one device and on 2 x 4, each through a checkpoint of the third.
Writes parameters and averages under MESH/NAME, and how many of either are split under MESH/split.
"""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.checkpoints.checkpoint import named_leaves
from querypose_jax.checkpoints.rotation import Checkpoints
from querypose_jax.checkpoints.train_state import TrainState, init_state, shardings
from querypose_jax.devices import sharding
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_train_step
from tests.training.fakes import FakeModel, fake_batches, fake_config

WIDTH = 2_000  # its matrices are large enough to be split
PICTURES, POISONED, STEPS = 8, 2, 5
MESHES = {"one": (1, 1, "replicated"), "zero1": (2, 4, "zero1"), "fsdp": (2, 4, "fsdp")}


def trained(data: int, fsdp: int, rule: str) -> TrainState:
    """The last state."""
    config = fake_config()
    optimizer, schedule = make_optimizer(config.optimizer, 12), learning_rate(config.optimizer, 12)
    mesh = sharding.make_mesh(ConfigDict({"data": data, "fsdp": fsdp}), jax.devices()[: data * fsdp])
    model = FakeModel(nnx.Rngs(0), WIDTH)
    nnx.update(model, jax.tree.map(lambda x: x.astype(jnp.float64), nnx.state(model)))
    batches = fake_batches(PICTURES, POISONED)(0)
    with jax.set_mesh(mesh), tempfile.TemporaryDirectory() as folder:
        graphdef, first = init_state(model, optimizer, averages=True)
        state = sharding.put(first, shardings(first, rule, mesh))
        step = make_train_step(graphdef, optimizer, schedule, mesh, rule, ema_decay=0.8)
        for number in range(STEPS):
            state, _ = step(state, sharding.put_batch(next(batches), mesh))
            if number == POISONED:
                state = saved_and_restored(state, Path(folder))
    return state


def saved_and_restored(state: TrainState, folder: Path) -> TrainState:
    """The state from a checkpoint, equal to the bit."""
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(state, {})
        checkpoints.wait()
        restored = checkpoints.restore(jax.tree.map(jnp.zeros_like, state))
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    return restored


def main(path: str) -> None:
    jax.config.update("jax_enable_x64", True)
    results: dict[str, np.ndarray] = {}
    for name, (data, fsdp, rule) in MESHES.items():
        state = trained(data, fsdp, rule)
        for part, tree in (("params", state.params), ("ema", state.ema)):
            results |= {f"{name}/{part}.{leaf}": np.asarray(x) for leaf, x in named_leaves(tree).items()}
        split = [not x.sharding.is_fully_replicated for x in jax.tree.leaves((state.params, state.ema))]
        results[f"{name}/split"] = np.asarray(split).reshape(2, -1).sum(1)
    np.savez(Path(path), **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
