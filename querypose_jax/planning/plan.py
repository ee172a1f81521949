"""What a TPU slice would need for a configuration, worked out on a machine that has none.

Programs are compiled ahead of time by the TPU compiler, which comes as the package libtpu: two training steps with
different numbers of pictures per chip, between which memory is a straight line, and one evaluation step. Compiling
tells bytes and operations, not seconds.
"""

import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from kernels.choice import programs_for
from querypose_jax.checkpoints.train_state import TrainState, shardings
from querypose_jax.devices import sharding
from querypose_jax.errors import UserError
from querypose_jax.models.registry import abstract_model
from querypose_jax.planning.advice import (
    GIB,
    advice,
    by_arithmetic,
    fit,
    fixed_bytes,
    program_table,
    rule_table,
)
from querypose_jax.planning.programs import Program, TooLarge, describe, describe_refusal
from querypose_jax.recipes import get_recipe
from querypose_jax.recipes.canvas import choose_canvas
from querypose_jax.recipes.recipe import MASK_STRIDE
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch, PeopleBudget

HBM_GIB = {"v4": 30.75, "v5e": 15.75, "v5p": 95.73, "v6e": 31.24}  # of a chip, for programs, by the compiler's account
CHIP = {"v4": {"chip_config_name": "megacore"}}  # both cores of a chip are one device, as on a real one
ENVIRONMENT = {  # the compiler looks for chips and for a metadata server; here is neither
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
HEIGHT_TO_WIDTH = np.geomspace(0.2, 5, 201)  # of pictures that may come
LONG_SIDE = 1000  # pixels of such a picture; any number will do
USUAL_SPLIT = 8  # chips that share a copy where mesh.fsdp leaves it open

Compile = Callable[[], jax.stages.Compiled]


class Makers(NamedTuple):
    """How the rooms that are not known here make what is compiled."""

    state: Callable[[ConfigDict], tuple[nnx.GraphDef, TrainState]]
    """Structure of a model, and shapes of its training state."""
    step: Callable[[ConfigDict, nnx.GraphDef, Mesh, str], Any]
    """The jitted training step for a rule of splitting."""
    predict: Callable[[nnx.GraphDef], Any]
    """A jitted predict(state, batch)."""


def print_plan(config: ConfigDict, topology: str, makers: Makers) -> None:
    """Compiles for a topology such as v5e:4x8 and prints what each chip needs.

    Args:
        config: a whole configuration; the group plan says what is compiled.
        topology: kind of chip and their arrangement, as in the name of a slice.
        makers: of training and inference.

    Raises:
        UserError: no TPU compiler here, an unknown topology.
    """
    devices = topology_devices(topology)
    hbm = GIB * (config.plan.hbm_gib or hbm_gib(topology))
    chips, rules = len(devices), tuple(sharding.RULES) if config.plan.search else ("replicated",)
    jobs: dict[str, Compile] = {}
    for rule, pictures in itertools.product(rules, config.plan.batches):
        mesh = plan_mesh(config, devices, rule)
        jobs[train_name(rule, pictures)] = partial(compile_train, config, mesh, rule, pictures, makers)
    mesh = plan_mesh(config, devices, "replicated")
    jobs[f"eval, {config.eval.batch_size} a chip"] = partial(compile_eval, config, mesh, makers)
    programs = compile_all(jobs)

    print(f"\n{topology}, {chips} chips, {hbm / GIB:g} GiB each; per chip:\n")
    print(program_table(programs))
    state, splitting = makers.state(config)[1], plan_mesh(config, devices, "fsdp")
    split, gradient_bytes = splitting.shape["fsdp"], jnp.dtype(config.model.dtype).itemsize
    found = {}
    for rule in rules:
        trained = {pictures: programs[train_name(rule, pictures)] for pictures in config.plan.batches}
        fixed, held = (fixed_bytes(state, rule, splitting, size) for size in (gradient_bytes, 0))
        found[rule] = fit(rule, trained, fixed, held)
    if not config.plan.search:
        found |= by_arithmetic(found["replicated"], state, splitting)
    print(rule_table(found.values(), hbm, config.data.batch_size / chips, split))
    print(advice(list(found.values()), hbm, config.data.batch_size, chips, split))


def topology_devices(topology: str) -> list:
    """The chips of a slice that is not there."""
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("mode plan uses the TPU compiler, which is not installed; pip install libtpu")
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    jax.config.update("jax_platforms", "cpu")  # what is not compiled runs here
    try:
        options = CHIP.get(topology.partition(":")[0], {})
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology, **options).devices)
    except Exception as error:  # the compiler's, of many types
        reason = str(error).splitlines()[0][:150]
        raise UserError(
            f"--topology={topology} is no TPU slice ({reason}); examples: v5e:2x4, v5e:4x8, v6e:4x4"
        ) from None


def hbm_gib(topology: str) -> float:
    """Memory of a chip by the name of its kind."""
    kind = topology.partition(":")[0]
    if kind not in HBM_GIB:
        raise UserError(f"the memory of a {kind} chip is not known here; give --config.plan.hbm_gib")
    return HBM_GIB[kind]


def plan_mesh(config: ConfigDict, devices: list, rule: str) -> Mesh:
    """All chips along data; for a rule that splits, mesh.fsdp of them (or eight) share a copy."""
    wanted = config.mesh.fsdp if config.mesh.fsdp > 1 else min(USUAL_SPLIT, len(devices))
    return sharding.make_mesh(ConfigDict({"data": -1, "fsdp": wanted if sharding.RULES[rule] else 1}), devices)


def compile_train(config: ConfigDict, mesh: Mesh, rule: str, pictures: int, makers: Makers) -> jax.stages.Compiled:
    """A training step on the largest canvas that comes, with so many pictures per chip."""
    graphdef, state = makers.state(config)
    people = pictures * min(config.plan.people, config.data.max_people)
    budget = PeopleBudget(mesh.size, people) if config.data.people_ladder else None
    has_masks = get_recipe(config.data.recipe).loss_mask is not None
    batch = abstract_batch(config, mesh, pictures, training_canvas(config), budget, has_masks)
    with jax.set_mesh(mesh), programs_for(mesh.devices.flat[0].device_kind):
        step = makers.step(config, graphdef, mesh, rule)
        return step.lower(placed(state, shardings(state, rule, mesh)), batch).compile()


def compile_eval(config: ConfigDict, mesh: Mesh, makers: Makers) -> jax.stages.Compiled:
    """An evaluation step on the largest canvas that comes, with eval.batch_size pictures per chip."""
    graphdef, state = abstract_model(config)
    everywhere = jax.tree.map(lambda _: sharding.replicated(mesh), state)
    canvas = largest_canvas(config, config.data.eval_short_side, config.eval.canvas == "exact")
    batch = abstract_batch(config, mesh, config.eval.batch_size, canvas, None)
    with jax.set_mesh(mesh), programs_for(mesh.devices.flat[0].device_kind):
        return makers.predict(graphdef).lower(placed(state, everywhere), batch).compile()


def placed(shapes: PyTree, places: PyTree) -> PyTree:
    """Shapes that know where their arrays would live."""
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places)


def training_canvas(config: ConfigDict) -> tuple[int, int]:
    """Height and width of the largest canvas that comes in training."""
    if get_recipe(config.data.recipe).fills_canvas:
        height, width = config.data.canvases[0]
        return height, width
    return largest_canvas(config, max(config.data.short_sides), exact=False)


def largest_canvas(config: ConfigDict, short_side: int, exact: bool) -> tuple[int, int]:
    """Height and width of the largest canvas that pictures of any shape take."""
    sizes = [(LONG_SIDE * min(r, 1), LONG_SIDE * min(1 / r, 1)) for r in HEIGHT_TO_WIDTH]
    recipe, data = get_recipe(config.data.recipe), config.data.copy_and_resolve_references()
    data.eval_short_side = short_side
    resized = recipe.rest_geometry(np.rint(sizes).astype(int), data).final.tolist()
    canvases = (choose_canvas(*size, recipe.canvases(data), recipe.canvas_step, exact) for size in resized)
    height, width = max(canvases, key=np.prod)
    return height, width


def abstract_batch(
    config: ConfigDict,
    mesh: Mesh,
    pictures: int,
    canvas: tuple[int, int],
    budget: PeopleBudget | None,
    has_masks: bool = False,
) -> Batch:
    """Shapes of a batch with so many pictures per chip; `has_masks`: with loss masks."""
    count, slots = pictures * mesh.size, config.data.max_people
    place = sharding.split_batch(mesh)

    def array(dtype, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *shape), dtype, sharding=place)

    return Batch(
        image=array(jnp.uint8, *canvas, 3),
        valid_size=array(jnp.int32, 2),
        orig_size=array(jnp.int32, 2),
        image_id=array(jnp.int32),
        inv_affine=array(jnp.float32, 2, 3),
        boxes=array(jnp.float32, slots, 4),
        keypoints=array(jnp.float32, slots, get_skeleton(config.data.skeleton).num_keypoints, 3),
        area=array(jnp.float32, slots),
        label=array(jnp.int32, slots),
        is_person=array(jnp.bool_, slots),
        loss_mask=array(jnp.bool_, *(side // MASK_STRIDE for side in canvas)) if has_masks else None,
        person_scale=array(jnp.float32, slots) if get_recipe(config.data.recipe).gives_scale else None,
        budget=budget,
    )


def train_name(rule: str, pictures: int) -> str:
    """How a training step with so many pictures per chip is called in the table."""
    return f"train, {rule}, {pictures} a chip"


def compile_all(jobs: dict[str, Compile]) -> dict[str, Program | TooLarge]:
    """Compiles as many programs at once as there are cores: the compiler takes one for each.

    One line on stderr where one begins and ends.
    """
    started = time.monotonic()

    def tell(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {text}", file=sys.stderr, flush=True)

    def compile_one(name: str) -> Program | TooLarge:
        tell(f"compiling {name}")
        try:
            program: Program | TooLarge = describe(jobs[name]())
        except jax.errors.JaxRuntimeError as error:
            if (program := describe_refusal(error)) is None:
                raise
        tell(f"{name}: {program.memory / GIB:.2f} GiB a chip" + ", too much" * isinstance(program, TooLarge))
        return program

    tell(f"{len(jobs)} programs; minutes each for a large model")
    with ThreadPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
        return dict(zip(jobs, pool.map(compile_one, jobs), strict=True))
