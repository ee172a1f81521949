"""A configuration that cannot work is told in one line before anything is prepared, compiled or written.

What concerns one part only (the depth of a resnet, the name of a data set) is checked by that part; what concerns the
keys of a family, by the family; here is what would otherwise fail late or silently.
"""

import itertools

import jax.numpy as jnp
from ml_collections import ConfigDict

from querypose_jax.checks import check_ranges, require
from querypose_jax.models.registry import family_of
from querypose_jax.recipes import get_recipe
from querypose_jax.skeletons import get_skeleton

POSITIVE = (
    "data.batch_size", "data.max_people", "data.people_ladder", "data.block_batches", "data.workers",
    "data.short_sides", "data.eval_short_side", "data.longest_side", "train.keep_last", "train.log_every",
    "train.checkpoint_every", "eval.batch_size", "train.grace_s", "train.heartbeat_s", "plan.batches", "plan.people",
    "train.max_bad_steps",
)  # fmt: skip
NOT_NEGATIVE = (
    "train.num_steps", "eval.every", "eval.max_pictures", "eval.num_drawn", "optimizer.learning_rate",
    "optimizer.weight_decay", "optimizer.clip_norm", "optimizer.warmup_steps", "data.largest_people",
)  # fmt: skip
SHARES = ("data.flip", "data.crop", "eval.draw_threshold", "train.ema_decay")
ASCENDING = ("data.people_ladder",)
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
    require(config.train.ema_decay < 1, config, "train.ema_decay", "must be below 1: an average of 1 never moves")
    check_devices(config)
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


def check_devices(config: ConfigDict) -> None:
    """The batch splits over the devices that the configuration names; whether there are so many is seen later."""
    mesh, batch = config.mesh, config.data.batch_size
    require(mesh.data == -1 or mesh.data > 0, config, "mesh.data", "must be positive, or -1 for all devices")
    require(mesh.fsdp > 0, config, "mesh.fsdp", "must be positive")
    devices = mesh.fsdp * max(mesh.data, 1)
    divides = f"does not split over {devices} devices (mesh.data x mesh.fsdp): take a multiple of {devices}"
    require(batch % devices == 0, config, "data.batch_size", divides)
