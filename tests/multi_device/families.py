"""A family on one device and on eight, in float64: python -m tests.multi_device.families FAMILY FOLDER

Five steps of drawn people. The pictures of the second one are not finite; nobody is on those of the fourth. Run on one
device and on eight (MESHES), and once more on eight, then four, then one, through two checkpoints (ROUTE). Needs eight
devices. Prints JSON: what every run differs in from that on one device.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from input_pipeline.loader import open_split, train_batches
from querypose_jax.checkpoints.checkpoint import named_leaves
from querypose_jax.checkpoints.rotation import Checkpoints
from querypose_jax.checkpoints.train_state import TrainState, shardings
from querypose_jax.devices import sharding
from querypose_jax.structures import Batch
from querypose_jax.training.build import new_state, new_step
from querypose_jax.training.step import TrainStep
from tests import tiny_family

STEPS, BAD, NOBODY = 5, 2, 4  # steps are counted from 1
ONE, *MANY = MESHES = ("1x1:replicated", "8x1:replicated", "2x4:zero1", "2x4:fsdp")
ROUTE = (("2x4:fsdp", 2), ("2x2:zero1", 4), ("1x1:replicated", 5))  # mesh, the step it comes to
COUNTERS = ("step", "count")  # ends of the names of what a bad step moves on


class Place(NamedTuple):
    """Where steps are computed, and what they need there."""

    config: ConfigDict
    mesh: Mesh
    rule: str
    step: TrainStep
    batches: list[Batch]


class Course(NamedTuple):
    """What a run was like, step by step."""

    losses: list[float]
    skipped: list[bool]
    states: list[dict[str, np.ndarray]]
    """Every array after each step."""
    split: int
    """Arrays that no device has whole."""


def batches_of(config: ConfigDict, devices: int) -> list[Batch]:
    """Of all steps, split for so many devices."""
    found = train_batches(config, open_split(config, "train"), start_step=0, shards=devices, stop_step=STEPS)
    batches = [dataclasses.replace(batch, image=batch.image.astype(np.float32)) for batch in found]
    batches[BAD - 1].image[0] = np.nan
    batches[NOBODY - 1] = without_people(batches[NOBODY - 1])
    return batches


def without_people(batch: Batch) -> Batch:
    """The same pictures, nobody on them."""
    empty = {"boxes", "keypoints", "area", "label", "is_person"}
    empty |= {"person_scale"} if batch.person_scale is not None else set()
    return dataclasses.replace(batch, **{name: np.zeros_like(getattr(batch, name)) for name in empty})


def place(config: ConfigDict, name: str) -> Place:
    """DATAxFSDP:RULE -> all that is needed there."""
    size, rule = name.split(":")
    data, fsdp = map(int, size.split("x"))
    mesh = sharding.make_mesh(ConfigDict({"data": data, "fsdp": fsdp}))
    graphdef, _ = new_state(config)
    return Place(config, mesh, rule, new_step(config, graphdef, mesh, rule), batches_of(config, mesh.size))


def first_state(where: Place) -> TrainState:
    """Freshly drawn, in float64."""
    _, state = new_state(where.config)
    state = jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, state)
    return sharding.put(state, shardings(state, where.rule, where.mesh))


def arrays(state: TrainState) -> dict[str, np.ndarray]:
    """Copied: the next step takes the state's memory."""
    return {name: np.array(x) for name, x in named_leaves(dataclasses.asdict(state)).items()}


def course(where: Place, state: TrainState, until: int) -> tuple[TrainState, Course]:
    """Goes on from a state to a step."""
    split = sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(state))
    found = Course([], [], [], split)
    with jax.set_mesh(where.mesh):
        for number in range(int(state.step), until):
            state, metrics = where.step(state, sharding.put_batch(where.batches[number], where.mesh))
            found.losses.append(float(metrics["loss/total"]))
            found.skipped.append(bool(metrics["skipped"]))
            found.states.append(arrays(state))
    return state, found


def moved(state: TrainState, where: Place, folder: Path) -> tuple[TrainState, list[str]]:
    """The state from a checkpoint, where it is to go on; names of what is not equal to the bit."""
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(state, {})
        checkpoints.wait()
        with jax.set_mesh(where.mesh):
            restored = checkpoints.restore(first_state(where))
    return restored, unequal(arrays(restored), arrays(state))


def unequal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> list[str]:
    """Names of arrays that are not equal to the bit."""
    names = sorted(found.keys() | expected.keys())
    return [n for n in names if n not in found or n not in expected or found[n].tobytes() != expected[n].tobytes()]


def distance(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[float, str]:
    """Largest difference of any number relative to the largest one of its array, and the name of that array."""
    sizes = {n: max(float(np.abs(x).max(initial=0)), 1e-3) for n, x in expected.items()}
    all_of_them = [(float(np.abs(found[n] - x).max(initial=0)) / sizes[n], n) for n, x in expected.items()]
    return max(all_of_them)


def told(found: Course, expected: Course) -> dict:
    """How a run differs from that on one device in the end, and what its steps were like."""
    largest, where = distance(found.states[-1], expected.states[-1])
    losses = [abs(a - b) / abs(b) for a, b in zip(found.losses, expected.losses, strict=True) if np.isfinite(b)]
    before, after = found.states[BAD - 2], found.states[BAD - 1]
    return {
        "split": found.split,
        "skipped": [number for number, skipped in enumerate(found.skipped, 1) if skipped],
        "changed_by_bad_step": [n for n in unequal(after, before) if not n.endswith(COUNTERS)],
        "loss_of_nobody": found.losses[NOBODY - 1],
        "losses_differ_by": max(losses),
        "arrays": len(expected.states[-1]),
        "arrays_not_equal_to_the_bit": len(unequal(found.states[-1], expected.states[-1])),
        "arrays_differ_by": largest,
        "most": where,
    }


def main(family: str, folder: str) -> None:
    jax.config.update("jax_enable_x64", True)
    config = tiny_family.get_config(family)
    config.model.dtype = "float64"
    config.data.update(batch_size=8, prepared=str(Path(folder) / "data"))
    places = {name: place(config, name) for name in dict.fromkeys([*MESHES, *(name for name, _ in ROUTE)])}
    courses = {}
    for name in MESHES:
        courses[name] = course(places[name], first_state(places[name]), STEPS)[1]
        print(f"{name}: {time.process_time():.0f} s of the processor so far", flush=True)
    results = {name: told(found, courses[ONE]) for name, found in courses.items()}

    state, joined, lost = first_state(places[ROUTE[0][0]]), Course([], [], [], 0), []
    for name, until in ROUTE:
        if int(state.step):
            state, wrong = moved(state, places[name], Path(folder) / str(until))
            lost += wrong
        state, part = course(places[name], state, until)
        joined = Course(*(mine + its for mine, its in zip(joined, part, strict=True)))
    results["8 -> 4 -> 1"] = told(joined, courses[ONE]) | {"lost_in_checkpoints": lost}
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
