"""What a QueryPose wants of its own keys."""

from ml_collections import ConfigDict

from querypose_jax.checks import check_ranges, config_value, require
from querypose_jax.skeletons import get_skeleton

POSITIVE = ("model.num_proposals", "model.stages", "model.dim", "model.part_dim", "model.heads")
ONE_OF = {
    "model.roi_align": ("auto", "gather", "dense", "triton"),
    "model.query_feedback": ("released", "none", "all"),
    "model.pose_query": ("part", "instance", "pooled"),
    "model.part_reading": ("attention", "mhsa", "channel", "spatial"),
    "model.iteration": ("selective", "none", "summation", "concatenation"),
    "matching.solver": ("callback", "device"),
}


def check(config: ConfigDict) -> None:
    """Sizes fit each other, every person of a picture has a query of its own, ablations have what they ask for.

    Raises:
        UserError: the first thing found, with key, value and what is allowed.
    """
    check_ranges(config, positive=POSITIVE, not_negative=("train.pictures_per_group",), one_of=ONE_OF)
    model, heads = config.model, config.model.heads
    for key in ("model.dim", "model.part_dim"):
        require(config_value(config, key) % heads == 0, config, key, f"must be a multiple of model.heads={heads}")
    width = f"must equal model.dim={model.dim}: queries meet the pyramid's channels"
    require(model.backbone.width == model.dim, config, "model.backbone.width", width)
    check_pose_query(config)
    check_feedback(config)
    queries = model.num_proposals
    too_many = f"is more than model.num_proposals={queries}: keep at most {queries} people, one for each proposal"
    require(config.data.max_people <= queries, config, "data.max_people", too_many)


def check_pose_query(config: ConfigDict) -> None:
    """Without part queries there is one vector of model.dim channels, which all joints come from."""
    model = config.model
    if model.pose_query == "part":
        return
    same = f"needs model.part_dim={model.part_dim} to equal model.dim={model.dim}"
    require(model.part_dim == model.dim, config, "model.pose_query", same)
    parts = len(get_skeleton(config.data.skeleton).parts)
    one = f"has no part queries: data.skeleton must have one part, has {parts}; coco_parts_1 has one"
    require(parts == 1, config, "model.pose_query", one)
    none = f"has no part queries to carry on: set model.iteration='none', not {model.iteration!r}"
    require(model.iteration == "none", config, "model.pose_query", none)


def check_feedback(config: ConfigDict) -> None:
    """What an ablation asks of the instance queries exists in the model it asks for."""
    model = config.model
    nothing = "is for the full version, the light one refines no query: add --config.model.light=False"
    require(not (model.light and model.query_feedback == "all"), config, "model.query_feedback", nothing)
    untrained = "feeds back at test time what it did not in training: drop model.carry_query_at_test"
    require(
        not (model.carry_query_at_test and model.query_feedback == "none"), config, "model.query_feedback", untrained
    )
