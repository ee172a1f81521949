"""Group Pose as a family: what the registry hands out."""

from querypose_jax.models.family import Family
from querypose_jax.models.grouppose.check import check
from querypose_jax.models.grouppose.explain import explain
from querypose_jax.models.grouppose.model import GroupPose
from querypose_jax.models.grouppose.released import WEIGHTS
from querypose_jax.models.grouppose.rows import rows

FAMILY = Family(
    build=GroupPose,
    defaults="configs.grouppose.defaults",
    check=check,
    may_change=("model.remat", "model.backbone.remat"),
    weights=WEIGHTS,
    explain=explain,
    rows=rows,
    accumulates=True,
)
