"""A small QueryPose saved on one mesh and continued on another.

    python -m tests.multi_device.move WORKDIR DATAxFSDP:RULE

Continues from the checkpoint in WORKDIR where there is one, else trains two steps and saves. Prints the losses of the
next two steps.
"""

import json
import sys
from pathlib import Path

import jax
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.checkpoints.rotation import Checkpoints
from querypose_jax.checkpoints.train_state import init_state, shardings
from querypose_jax.devices import sharding
from querypose_jax.models.registry import build_model
from querypose_jax.structures import PeopleBudget
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_train_step
from tests.models.small_model import people_batch, small_config

PEOPLE = (2, 1, 0, 3, 1, 1, 2, 0)
STEPS = 2


def main(workdir: str, name: str) -> None:
    size, rule = name.split(":")
    data, fsdp = map(int, size.split("x"))
    mesh = sharding.make_mesh(ConfigDict({"data": data, "fsdp": fsdp}))
    config = small_config(stages=1, pose_convs=1, flow_couplings=1, box_roi=4, pose_roi=4)
    config.optimizer.warmup_steps = 0
    optimizer = make_optimizer(config.optimizer, 2 * STEPS)
    schedule = learning_rate(config.optimizer, 2 * STEPS)
    graphdef, state = init_state(build_model(config, rngs=nnx.Rngs(0)), optimizer)
    state = sharding.put(state, shardings(state, rule, mesh))
    batch = people_batch(PEOPLE, size=(32, 32), budget=PeopleBudget(mesh.size, max(24 // mesh.size, 4)))
    losses = []
    with jax.set_mesh(mesh), Checkpoints(Path(workdir)) as checkpoints:
        batch = sharding.put_batch(batch, mesh)
        step = make_train_step(graphdef, optimizer, schedule, mesh, rule)
        if checkpoints.latest_step is None:
            for _ in range(STEPS):
                state, _ = step(state, batch)
            checkpoints.save(state, {})
        else:
            state = checkpoints.restore(state)
        for _ in range(STEPS):
            state, metrics = step(state, batch)
            losses.append(float(metrics["loss/total"]))
    print(json.dumps({"devices": mesh.size, "step": int(state.step), "losses": losses}))


if __name__ == "__main__":
    main(*sys.argv[1:])
