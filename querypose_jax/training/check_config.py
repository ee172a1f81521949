"""A configuration that cannot work is told in one line before anything is prepared, compiled or written.

What concerns one part only (the depth of a resnet, a grid of proposals, the name of a data set) is checked by that
part; here is what would otherwise fail late or silently.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.pictures import CANVAS_STEP
from querypose_jax.skeletons import get_skeleton

POSITIVE = (
    "model.num_proposals", "model.stages", "model.dim", "model.part_dim", "model.heads",
    "data.batch_size", "data.max_people", "data.block_batches", "data.workers", "data.short_sides",
    "data.eval_short_side", "data.longest_side", "data.row_ladder", "train.keep_last", "train.log_every",
    "train.checkpoint_every", "eval.batch_size", "train.grace_s", "train.heartbeat_s", "plan.batches", "plan.people",
    "train.max_bad_steps",
)  # fmt: skip
NOT_NEGATIVE = (
    "train.num_steps", "train.pictures_per_group", "eval.every", "eval.max_pictures", "eval.num_drawn",
    "optimizer.learning_rate", "optimizer.weight_decay", "optimizer.warmup_steps", "data.largest_people",
)  # fmt: skip
SHARES = ("data.flip", "data.crop", "eval.draw_threshold")  # from 0 to 1
ASCENDING = ("data.row_ladder", "optimizer.milestones")
ONE_OF = {
    "optimizer.schedule": ("steps", "factors", "cosine"),
    "model.roi_align": ("auto", "gather", "dense", "triton"),
    "model.query_feedback": ("released", "none", "all"),
    "model.pose_query": ("part", "instance"),
    "model.part_reading": ("attention", "mean", "mhsa", "channel", "spatial"),
    "model.iteration": ("selective", "none", "summation", "concatenation"),
    "matching.solver": ("callback", "device"),
    "eval.canvas": ("ladder", "exact"),
    "mesh.parameters": ("replicated", "zero1", "fsdp"),
}


def check_config(config: ConfigDict) -> None:
    """Looks at the whole configuration of a run; touches no device.

    Raises:
        UserError: the first thing found, with key, value and what is allowed.
    """
    for key in POSITIVE:
        require(all(v > 0 for v in listed(config, key)), config, key, "must be positive")
    for key in NOT_NEGATIVE:
        require(config_value(config, key) >= 0, config, key, "must not be negative")
    for key in SHARES:
        require(0 <= config_value(config, key) <= 1, config, key, "must be from 0 to 1")
    for key in ASCENDING:
        values = list(config_value(config, key))
        require(values == sorted(values), config, key, "must ascend")
    for key, allowed in ONE_OF.items():
        require(config_value(config, key) in allowed, config, key, f"is unknown; known: {', '.join(allowed)}")
    check_model(config)
    check_devices(config)
    canvases = config.data.canvases
    fitting = len(canvases) and all(len(c) == 2 and all(s > 0 and s % CANVAS_STEP == 0 for s in c) for c in canvases)
    require(fitting, config, "data.canvases", f"must be pairs (height, width) of multiples of {CANVAS_STEP} pixels")
    get_skeleton(config.data.skeleton)


def check_model(config: ConfigDict) -> None:
    """The sizes of the model, and that every person of a picture has a query of its own."""
    dtypes = ("float32", "bfloat16") if jnp.result_type(float) == jnp.float32 else ("float32", "bfloat16", "float64")
    require(config.model.dtype in dtypes, config, "model.dtype", f"is unknown; known: {', '.join(dtypes)}")
    heads = config.model.heads
    for key in ("model.dim", "model.part_dim"):
        require(config_value(config, key) % heads == 0, config, key, f"must be a multiple of model.heads={heads}")
    width = f"must equal model.dim={config.model.dim}: queries meet the pyramid's channels"
    require(config.model.backbone.width == config.model.dim, config, "model.backbone.width", width)
    check_feedback(config)
    queries = config.model.num_proposals
    require(
        config.data.max_people <= queries,
        config,
        "data.max_people",
        f"is more than model.num_proposals={queries}: keep at most {queries} people, one for each proposal",
    )


def check_feedback(config: ConfigDict) -> None:
    """What an ablation asks of the queries exists in the model it asks for."""
    model = config.model
    same = f"needs model.part_dim={model.part_dim} to equal model.dim={model.dim}: queries are copied"
    require(model.pose_query == "part" or model.part_dim == model.dim, config, "model.pose_query", same)
    nothing = "is for the full version, the light one refines no query: add --config.model.light=False"
    require(not (model.light and model.query_feedback == "all"), config, "model.query_feedback", nothing)
    untrained = "feeds back at test time what it did not in training: drop model.carry_query_at_test"
    require(
        not (model.carry_query_at_test and model.query_feedback == "none"), config, "model.query_feedback", untrained
    )


def check_devices(config: ConfigDict) -> None:
    """The batch splits over the devices that the configuration names; whether there are so many is seen later."""
    mesh, batch = config.mesh, config.data.batch_size
    require(mesh.data == -1 or mesh.data > 0, config, "mesh.data", "must be positive, or -1 for all devices")
    require(mesh.fsdp > 0, config, "mesh.fsdp", "must be positive")
    devices = mesh.fsdp * max(mesh.data, 1)
    divides = f"does not split over {devices} devices (mesh.data x mesh.fsdp): take a multiple of {devices}"
    require(batch % devices == 0, config, "data.batch_size", divides)


def require(holds: Any, config: ConfigDict, key: str, otherwise: str) -> None:
    """Raises UserError with the key, its value and the reason, unless the condition holds."""
    if not holds:
        raise UserError(f"config.{key}={config_value(config, key)!r} {otherwise}")


def config_value(config: ConfigDict, key: str) -> Any:
    """The value under a dotted key."""
    value = config
    for name in key.split("."):
        value = value[name]
    return value


def listed(config: ConfigDict, key: str) -> Sequence[Any]:
    """The value under a dotted key, one value as a sequence of one."""
    value = config_value(config, key)
    return value if isinstance(value, tuple | list) else (value,)
