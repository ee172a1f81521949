"""Losses of 20 steps of a small QueryPose.

    python -m tests.multi_device.curve FILE.json DTYPE DATAxFSDP:RULE ... [@PORT:ID:COUNT]

Several meshes give several curves. With @ this is process ID of COUNT, which train together.
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.checkpoints.train_state import init_state, shardings
from querypose_jax.devices import distributed, sharding
from querypose_jax.models.registry import build_model
from querypose_jax.structures import PeopleBudget
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_train_step
from tests.models.small_model import people_batch, small_config

STEPS = 20
PEOPLE = (2, 1, 0, 3, 1, 1, 2, 0)


def curve(mesh: jax.sharding.Mesh, rule: str, dtype: str) -> tuple[list[float], str]:
    """Total losses by step, and the compiled program."""
    config = small_config(stages=1, pose_convs=1, flow_couplings=1, box_roi=4, pose_roi=4, dtype=dtype)
    config.optimizer.warmup_steps = 0
    optimizer = make_optimizer(config.optimizer, STEPS)
    schedule = learning_rate(config.optimizer, STEPS)
    graphdef, state = init_state(build_model(config, rngs=nnx.Rngs(0)), optimizer)
    state = sharding.put(state, shardings(state, rule, mesh))
    part = len(PEOPLE) // jax.process_count()
    own = slice(jax.process_index() * part, (jax.process_index() + 1) * part)
    batch = people_batch(PEOPLE, size=(32, 32), budget=PeopleBudget(mesh.size, max(24 // mesh.size, 4)))
    batch = sharding.put_batch(jax.tree.map(lambda x: np.asarray(x)[own], batch), mesh)
    step = make_train_step(graphdef, optimizer, schedule, mesh, rule).lower(state, batch).compile()
    losses = []
    for _ in range(STEPS):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss/total"]))
    return losses, step.as_text()


def main(path: str, dtype: str, *arguments: str) -> None:
    jax.config.update("jax_enable_x64", dtype == "float64")
    meshes = [argument for argument in arguments if not argument.startswith("@")]
    for place in (argument[1:] for argument in arguments if argument.startswith("@")):
        port, process_id, count = place.split(":")
        distributed.join(f"localhost:{port}", int(process_id), int(count), heartbeat_s=60)
    found = {}
    for name in meshes:
        size, rule = name.split(":")
        data, fsdp = map(int, size.split("x"))
        mesh = sharding.make_mesh(ConfigDict({"data": data, "fsdp": fsdp}))
        with jax.set_mesh(mesh):
            started = time.monotonic()
            found[name] = curve(mesh, rule, dtype)
        print(f"{name} {dtype}: {time.monotonic() - started:.0f} s", flush=True)
    if jax.process_index() == 0:
        Path(path).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
