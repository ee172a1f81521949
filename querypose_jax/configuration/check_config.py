"""A configuration that cannot work is told in one line before anything is prepared, compiled or written.

What concerns one part only (the depth of a resnet, the name of a data set) is checked by that part; what concerns the
keys of a family, by the family; here is what would otherwise fail late or silently.
"""

import itertools
import re

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.checks import check_ranges, require
from querypose_jax.models.registry import abstract_model, family_of
from querypose_jax.recipes import get_recipe
from querypose_jax.skeletons import get_skeleton

POSITIVE = (
    "data.batch_size", "data.max_people", "data.people_ladder", "data.block_batches", "data.workers",
    "data.short_sides", "data.eval_short_side", "data.longest_side", "train.keep_last", "train.log_every",
    "train.checkpoint_every", "eval.batch_size", "train.grace_s", "train.heartbeat_s", "plan.batches", "plan.people",
    "train.max_bad_steps", "train.accumulate", "data.augment.scales",
)  # fmt: skip
NOT_NEGATIVE = (
    "train.num_steps", "eval.every", "eval.max_pictures", "eval.num_drawn", "optimizer.learning_rate",
    "optimizer.weight_decay", "optimizer.clip_norm", "optimizer.warmup_steps", "data.largest_people",
    "train.patience", "data.augment.rotate", "data.augment.hue", "data.augment.blur_sigmas",
)  # fmt: skip
SHARES = (
    "data.flip", "data.crop", "eval.draw_threshold", "train.ema_decay", "data.augment.blur", "data.augment.brightness",
    "data.augment.contrast", "data.augment.saturation",
)  # fmt: skip
ASCENDING = ("data.people_ladder", "data.augment.scales", "data.augment.blur_sigmas")
ONE_OF = {
    "optimizer.name": ("adamw", "adam"),
    "optimizer.schedule": ("steps", "cosine"),
    "eval.canvas": ("ladder", "exact"),
    "eval.image_filter": ("all", "with_person"),
    "mesh.parameters": ("replicated", "zero1", "fsdp"),
}


def check_config(config: ConfigDict) -> None:
    """Looks at the whole configuration of a run; touches no device.

    Raises:
        UserError: the first thing found, with key, value and what is allowed.
    """
    check_ranges(config, POSITIVE, NOT_NEGATIVE, SHARES, ASCENDING, ONE_OF)
    dtypes = ("float32", "bfloat16") if jnp.result_type(float) == jnp.float32 else ("float32", "bfloat16", "float64")
    require(config.model.dtype in dtypes, config, "model.dtype", f"is unknown; known: {', '.join(dtypes)}")
    family_of(config).check(config)
    check_milestones(config)
    check_start(config)
    require(config.train.ema_decay < 1, config, "train.ema_decay", "must be below 1: an average of 1 never moves")
    has_evaluations = config.train.patience == 0 or config.eval.every > 0
    require(
        has_evaluations, config, "train.patience", "counts evaluations: set config.eval.every to steps between them"
    )
    augment = config.data.augment
    require(augment.hue <= 0.5, config, "data.augment.hue", "must be at most 0.5: that is every hue")
    for key in ("scales", "blur_sigmas"):
        require(len(augment[key]) == 2, config, f"data.augment.{key}", "must be two numbers: from, to")
    check_devices(config)
    check_accumulation(config)
    canvases = config.data.canvases
    step = get_recipe(config.data.recipe).canvas_step
    fitting = len(canvases) and all(len(c) == 2 and all(s > 0 and s % step == 0 for s in c) for c in canvases)
    require(fitting, config, "data.canvases", f"must be pairs (height, width) of multiples of {step} pixels")
    get_skeleton(config.data.skeleton)


def check_milestones(config: ConfigDict) -> None:
    """Each is a step and a factor; steps ascend, factors are positive but may go up again."""
    key, milestones = "optimizer.milestones", config.optimizer.milestones
    are_pairs = all(isinstance(m, tuple | list) and len(m) == 2 and m[0] >= 0 and m[1] > 0 for m in milestones)
    require(are_pairs, config, key, "must be pairs (step, factor), factors positive: ((110000, 0.1), (130000, 0.01))")
    steps = [step for step, _ in milestones]
    require(all(a < b for a, b in itertools.pairwise(steps)), config, key, "must have ascending steps")


def check_start(config: ConfigDict) -> None:
    """What a run keeps of other weights, and what it leaves as it is, is written as it can be read."""
    pairs = config.init_map
    are_pairs = all(isinstance(p, tuple | list) and len(p) == 2 and all(isinstance(x, str) for x in p) for p in pairs)
    require(are_pairs, config, "init_map", "must be pairs (name, name in the weights): (('head', 'nose'),)")
    try:
        re.compile(config.optimizer.freeze)
    except re.error as error:
        require(False, config, "optimizer.freeze", f"must be a regular expression ({error})")


def check_devices(config: ConfigDict) -> None:
    """The batch splits over the devices that the configuration names; whether there are so many is seen later."""
    mesh, batch = config.mesh, config.data.batch_size
    require(mesh.data == -1 or mesh.data > 0, config, "mesh.data", "must be positive, or -1 for all devices")
    require(mesh.fsdp > 0, config, "mesh.fsdp", "must be positive")
    devices = mesh.fsdp * max(mesh.data, 1)
    divides = f"does not split over {devices} devices (mesh.data x mesh.fsdp): take a multiple of {devices}"
    require(batch % devices == 0, config, "data.batch_size", divides)
    parts = config.train.accumulate
    does_not = f"must divide the pictures of a device: data.batch_size={batch} over {devices} devices"
    require(batch % (devices * parts) == 0, config, "train.accumulate", does_not)


def check_accumulation(config: ConfigDict) -> None:
    """Micro-batches that would not add up to the batch are refused: those of a model with batch norm."""
    if config.train.accumulate > 1:
        statistics = nnx.filter_state(abstract_model(config)[1], nnx.BatchStat)
        adds_up = family_of(config).accumulates and not jax.tree.leaves(statistics)
        why = "must be 1 here: this model's batch norm takes statistics from the whole batch, micro-batches have others"
        require(adds_up, config, "train.accumulate", why)
