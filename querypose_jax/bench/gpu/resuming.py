"""Whether a training that is continued in another process has the bits of one that was not interrupted."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from querypose_jax.bench.gpu.models import config_in
from querypose_jax.bench.gpu.sheet import Sheet
from querypose_jax.bench.own_process import OwnProcess
from querypose_jax.bench.workload import drawn_batch
from querypose_jax.checkpoints.train_state import shardings
from querypose_jax.devices import sharding
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch
from querypose_jax.training.build import build

CONFIGS = {
    "querypose": "configs.synthetic_tiny",
    "grouppose": "configs.grouppose.synthetic_tiny",
    "edpose": "configs.edpose.synthetic_tiny",
    "simplepose": "configs.simplepose.synthetic_tiny",
}
STEPS, SAVED = 8, 4  # of the whole run; the other one begins after SAVED
CANVAS, PICTURES, PEOPLE = (96, 128), 4, 2
LIMIT_S = 300.0  # of a family, both processes


class Trained(NamedTuple):
    """What a part of a run leaves."""

    losses: list[float]
    saved: list[np.ndarray]
    """All arrays of the state after SAVED steps."""
    digest: str
    """Of all arrays of the last state."""


def resumes_to_the_bit(sheet: Sheet) -> None:
    """Small models of all families, other pictures in every step; one process trains on, another starts in between."""
    families = [*CONFIGS][:1] if sheet.sizes.is_tiny else [*CONFIGS]
    whole = {family: begun(family) for family in families}
    others = {family: OwnProcess(trainer, family) for family in families}
    for family in families:
        with sheet.guarded(family):
            first: Any = whole[family].result(LIMIT_S)
            others[family].begin(first.saved)
            second: Any = others[family].result(LIMIT_S)
            sheet.write(
                what=family,
                steps=f"{STEPS}, the other process from {SAVED} on",
                equal_losses=first.losses[SAVED:] == second.losses,
                same_bits_of_the_state=first.digest == second.digest,
                last_loss=first.losses[-1],
            )
        whole[family].end()
        others[family].end()


def begun(family: str) -> OwnProcess:
    """A process that trains from the first step on."""
    process = OwnProcess(trainer, family)
    process.begin(None)
    return process


def trainer(family: str) -> Callable[[list[np.ndarray] | None], Trained]:
    """`train(state after SAVED steps, None: from the start)`, for a process of its own, which compiles the step."""
    config = config_in(CONFIGS[family])
    config.mesh.data, config.mesh.fsdp = 1, 1
    keypoints = get_skeleton(config.data.skeleton).num_keypoints
    drawn = drawn_batch(CANVAS, PICTURES, PEOPLE, keypoints, tuple(config.data.people_ladder))
    mesh, _, first, step = build(config)
    jitted: Any = step
    with jax.set_mesh(mesh):
        compiled = jitted.lower(first, sharding.put_batch(drawn, mesh)).compile()

    def train(saved: list[np.ndarray] | None) -> Trained:
        state, losses, kept = first, [], saved
        if saved is not None:
            state = jax.tree.unflatten(jax.tree.structure(first), saved)
            state = sharding.put(state, shardings(state, "replicated", mesh))
        with jax.set_mesh(mesh):
            for index in range(SAVED if saved is not None else 0, STEPS):
                if index == SAVED and saved is None:
                    kept = arrays(state)
                state, metrics = compiled(state, sharding.put_batch(pictures_of(index, drawn), mesh))
                losses.append(float(metrics["loss/total"]))
        digest = hashlib.sha256(b"".join(x.tobytes() for x in arrays(state))).hexdigest()
        return Trained(losses, kept, digest)

    return train


def pictures_of(index: int, drawn: Batch) -> Batch:
    """Those of a step."""
    rng = np.random.default_rng(index)
    return dataclasses.replace(drawn, image=rng.integers(0, 256, drawn.image.shape, np.uint8))


def arrays(state: object) -> list[np.ndarray]:
    """Of a state, in the order of its tree."""
    return [np.asarray(x) for x in jax.tree.leaves(state)]
