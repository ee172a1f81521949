"""Seconds to trace, lower and compile, and the memory of what comes out: inference and a training step.

    python -m querypose_jax.bench compile --config=configs/coco_r50.py [--pictures=2 --canvas=800x1088]

The last column is the same compilation with empty memory: from the persistent cache, where the program
may be stored there (programs with a host callback never are). model.remat computes box and pose stages again in the
backward pass.
"""

import itertools
import tempfile
import time
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.bench.options import Options
from querypose_jax.bench.timing import table
from querypose_jax.bench.workload import drawn_batch
from querypose_jax.configuration.flat import flat
from querypose_jax.devices import sharding
from querypose_jax.models.base import Wanted
from querypose_jax.models.registry import abstract_model
from querypose_jax.skeletons import get_skeleton
from querypose_jax.training.build import abstract_state, new_step

VARIANTS: dict[str, dict[str, Any]] = {  # those whose keys the configuration has
    "training step, matching by callback": {"matching.solver": "callback", "model.remat": False},
    "training step, matching by device": {"matching.solver": "device", "model.remat": False},
    "training step, matching by device, model.remat": {"matching.solver": "device", "model.remat": True},
}


def run(config: ConfigDict, options: Options) -> str:
    """Compiles without running anything; weights are shapes only."""
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        rows = [measure(name, jitted, arguments) for name, jitted, arguments in programs(config, options)]
    head = ["program", "trace s", "lower s", "compile s", "temporaries GiB", "compile again s"]
    size = f"{options.pictures} x {options.canvas[0]} x {options.canvas[1]}"
    return f"{jax.devices()[0].device_kind}, {config.model.dtype}, {size}\n\n{table(head, rows)}"


def programs(config: ConfigDict, options: Options):
    """(name, jitted function, abstract arguments) of inference with and without pruning and of training."""
    keypoints = get_skeleton(config.data.skeleton).num_keypoints
    graphdef, state = abstract_model(config)
    batch = shapes(drawn_batch(options.canvas, options.pictures, 1, keypoints))
    for name, wanted in {"inference, all": None, "inference, 20 best": Wanted(best=20)}.items():
        yield name, jax.jit(lambda s, b, w=wanted: nnx.merge(graphdef, s).predict(b, w)), (state, batch)
    mesh = sharding.make_mesh(ConfigDict({"data": 1, "fsdp": 1}), jax.devices()[:1])
    people = drawn_batch(options.canvas, options.pictures, options.people, keypoints, tuple(config.data.people_ladder))
    for name, changes in VARIANTS.items():
        if not changes.keys() <= flat(config).keys():
            continue
        config.update_from_flattened_dict(changes)
        graphdef, parts = abstract_state(config)
        with jax.set_mesh(mesh):
            yield name, new_step(config, graphdef, mesh), (parts, shapes(people))


def shapes(batch):
    """Shapes and types of a batch, without its numbers."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)


def measure(name: str, jitted, arguments) -> list[str]:
    """One row; the second compilation starts with empty caches in memory."""
    seconds, compiled = stages(jitted, arguments)
    jax.clear_caches()
    again, _ = stages(jitted, arguments)
    temporaries = compiled.memory_analysis().temp_size_in_bytes / 2**30
    return [name, *(f"{s:.1f}" for s in seconds), f"{temporaries:.2f}", f"{again[2]:.1f}"]


def stages(jitted, arguments) -> tuple[list[float], jax.stages.Compiled]:
    """Seconds to trace, lower and compile, and the compiled program."""
    marks = [time.perf_counter()]
    traced = jitted.trace(*arguments)
    marks.append(time.perf_counter())
    lowered = traced.lower()
    marks.append(time.perf_counter())
    compiled = lowered.compile()
    marks.append(time.perf_counter())
    return [b - a for a, b in itertools.pairwise(marks)], compiled
