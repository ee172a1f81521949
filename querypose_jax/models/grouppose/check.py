"""What a Group Pose wants of its own keys."""

from ml_collections import ConfigDict

from querypose_jax.checks import check_ranges, require
from querypose_jax.models.deformable.tokens import GROUPS

POSITIVE = tuple(
    f"model.{key}"
    for key in (
        "num_queries", "num_select", "dim", "heads", "levels", "encoder_layers", "encoder_points", "decoder_layers",
        "decoder_points", "ffn_dim", "backbone.window",
    )
)  # fmt: skip
ONE_OF = {"model.backbone.name": ("resnet", "swin", "small"), "matching.solver": ("callback", "device")}
STAGES = (0, 1, 2, 3)


def check(config: ConfigDict) -> None:
    """Sizes fit each other, the used stages exist, every person of a picture has a query of its own.

    Raises:
        UserError: the first thing found, with key, value and what is allowed.
    """
    check_ranges(config, positive=POSITIVE, one_of=ONE_OF)
    model = config.model
    require(model.dim % model.heads == 0, config, "model.dim", f"must be a multiple of model.heads={model.heads}")
    groups = f"must be a multiple of {GROUPS}, the groups of the norms"
    require(model.dim % GROUPS == 0, config, "model.dim", groups)
    stages = list(model.backbone.stages)
    known = f"must name some of the stages {STAGES}, each once, finest first"
    require(stages and stages == sorted(set(stages) & set(STAGES)), config, "model.backbone.stages", known)
    fewer = f"is less than the number of model.backbone.stages={tuple(stages)}"
    require(model.levels >= len(stages), config, "model.levels", fewer)
    queries = model.num_queries
    too_many = f"is more than model.num_queries={queries}: keep at most {queries} people, one for each query"
    require(config.data.max_people <= queries, config, "data.max_people", too_many)
