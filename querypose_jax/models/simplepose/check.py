"""What a SimplePose wants of its own keys."""

from ml_collections import ConfigDict

from querypose_jax.backbones.hourglass import step
from querypose_jax.checks import check_ranges, require
from querypose_jax.recipes.fit import RULES
from querypose_jax.skeletons import get_skeleton

POSITIVE = (
    "model.backbone.depth", "model.backbone.dims", "model.backbone.mods", "model.backbone.stem_dim",
    "model.backbone.feature_dim", "model.backbone.stacks", "model.targets.sigma", "model.targets.offset_window",
    "model.loss.drop_above", "model.decode.candidates", "model.decode.max_distance", "model.decode.min_length",
    "model.decode.no_scale", "model.decode.people", "data.scales", "data.stretches", "data.eval_length",
    "data.eval_multiple",
)  # fmt: skip
NOT_NEGATIVE = (
    "model.targets.min_joint_scale", "model.loss.focal_gamma", "model.loss.offset_margin", "model.loss.scale_margin",
    "model.loss.heatmap_weight", "model.loss.offset_weight", "model.loss.scale_weight", "model.loss.pictures_per_group",
    "model.decode.heatmap_threshold", "model.decode.person_threshold", "train.pictures_per_group", "data.rotate",
    "data.shift", "data.hsv_noise", "data.smallest_area",
)  # fmt: skip
SHARES = ("data.flip", "data.joint_shift", "data.grey", "data.colour_noise")
ASCENDING = ("data.scales", "data.stretches")


def check(config: ConfigDict) -> None:
    """Levels have their numbers, limbs exist, there is one class, pictures and batches split as the network and its
    losses need it.

    Raises:
        UserError: the first thing found, with key, value and what is allowed.
    """
    one_of = {"model.backbone.name": ("hourglass",), "data.eval_resize": RULES}
    check_ranges(config, POSITIVE, NOT_NEGATIVE, SHARES, ASCENDING, one_of)
    backbone, tau = config.model.backbone, config.model.targets.tau
    levels = f"needs {backbone.depth + 1} numbers: one per level (model.backbone.depth={backbone.depth}), one inside"
    for key in ("dims", "mods"):
        require(len(backbone[key]) == backbone.depth + 1, config, f"model.backbone.{key}", levels)
    require(0 < tau < 1, config, "model.targets.tau", "must lie between 0 and 1")
    joined = "must be 1: joints are joined to people whatever they are; give all categories one name, or keep one"
    require(config.model.num_classes == 1, config, "model.num_classes", joined)
    limbs = get_skeleton(config.data.skeleton).limbs
    require(limbs, config, "data.skeleton", "has no limbs or edges: joints could not be joined to people")
    check_pictures(config)
    check_groups(config)


def check_pictures(config: ConfigDict) -> None:
    """The network can halve all pictures so often."""
    pixels = step(config.model.backbone)
    multiples = f"must be multiples of {pixels} pixels: 4 x 2^model.backbone.depth"
    for canvas in config.data.canvases:
        require(all(side % pixels == 0 for side in canvas), config, "data.canvases", multiples)
    multiple = f"must be a multiple of {pixels} pixels: 4 x 2^model.backbone.depth"
    for key in ("eval_length", "eval_multiple"):
        require(config.data[key] % pixels == 0, config, f"data.{key}", multiple)


def check_groups(config: ConfigDict) -> None:
    """A batch splits into the groups whose statistics and losses are formed together."""
    batch = config.data.batch_size
    for key in ("model.loss", "train"):
        group = (config.model.loss if key == "model.loss" else config.train).pictures_per_group
        divisor = f"must divide data.batch_size={batch}, or be 0 for the whole batch"
        require(not group or group >= batch or batch % group == 0, config, f"{key}.pictures_per_group", divisor)
