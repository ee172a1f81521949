"""What every deformable model wants of its keys."""

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


def check_sizes(config: ConfigDict) -> None:
    """Sizes fit each other and the used stages exist.

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
