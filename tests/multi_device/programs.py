"""What the tests compare, on one device and on several: python -m tests.multi_device.programs NAME SEVERAL FILE.npz.

The number of devices of a process is fixed before its first computation, hence a program of its own.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from kernels.assignment import SOLVERS, Matches, assign
from querypose_jax.checkpoints.checkpoint import named_leaves
from querypose_jax.checkpoints.train_state import init_state
from querypose_jax.devices import sharding
from querypose_jax.models.registry import build_model
from querypose_jax.structures import Batch, PeopleBudget
from querypose_jax.training.step import make_train_step
from tests.models.edpose import small_model as edpose
from tests.models.grouppose import small_model as grouppose
from tests.models.small_model import people_batch, small_config

RATE = 1.0  # of plain gradient descent: Adam's first step knows the sign of a gradient only


def one_step(mesh: Mesh) -> dict[str, np.ndarray]:
    """Losses of one training step of the full (not the light) version, and what every parameter moves by."""
    config = small_config(light=False, pose_convs=1, flow_couplings=2)
    devices = mesh.shape["data"]
    return step_of(config, people_batch(people=(2, 1, 0, 3), budget=PeopleBudget(devices, 8 // devices)), mesh)


def edpose_step(mesh: Mesh) -> dict[str, np.ndarray]:
    """The same of an ED-Pose in float64, eight pictures; its denoising losses are formed in four groups of two."""
    config = edpose.small_config(dtype="float64", **{"loss.pictures_per_group": 2})
    with jax.enable_x64(True):
        return step_of(config, grouppose.people_batch(people=(2, 1, 0, 3, 1, 1, 2, 3)), mesh)


def step_of(config: ConfigDict, batch: Batch, mesh: Mesh) -> dict[str, np.ndarray]:
    """One training step on a batch."""
    optimizer = optax.sgd(RATE)
    graphdef, state = init_state(build_model(config, rngs=nnx.Rngs(0)), optimizer)
    before = jax.tree.map(np.array, named_leaves(state.model))
    step = make_train_step(graphdef, optimizer, optax.constant_schedule(RATE), mesh)
    state, metrics = step(sharding.replicate(state, mesh), sharding.put_batch(batch, mesh))
    moved = {f"moved/{name}": np.asarray(leaf) - before[name] for name, leaf in named_leaves(state.model).items()}
    return moved | {name: np.asarray(value) for name, value in metrics.items()}


def matching(mesh: Mesh, solver: str) -> dict[str, np.ndarray]:
    """Assignment of four pictures at three stages in one call, and the compiled program that found it."""
    rng = np.random.default_rng(0)
    cost = rng.normal(size=(4, 9, 5)).astype(np.float32)
    is_person = np.arange(5) < np.array([5, 0, 2, 4])[:, None]
    split = sharding.split_batch(mesh)

    def of_stages(cost: jax.Array, is_person: jax.Array) -> Matches:
        return assign(jnp.stack([cost, -cost, 2 * cost]), is_person, solver)

    compiled = jax.jit(of_stages, in_shardings=split).lower(cost, is_person).compile()
    found = compiled(*jax.device_put((cost, is_person), split))
    return {"query": np.asarray(found.query), "person": np.asarray(found.person), "program": compiled.as_text()}


PROGRAMS = {"one_step": one_step, "edpose_step": edpose_step} | {
    f"matching_{solver}": partial(matching, solver=solver) for solver in SOLVERS
}

if __name__ == "__main__":
    program = PROGRAMS[sys.argv[1]]
    results = {}
    for devices in (1, int(sys.argv[2])):
        mesh = sharding.make_mesh(ConfigDict({"data": devices, "fsdp": 1}))
        with jax.set_mesh(mesh):
            results |= {f"{devices}/{name}": value for name, value in program(mesh).items()}
    np.savez(Path(sys.argv[3]), **results)
