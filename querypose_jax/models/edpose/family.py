"""ED-Pose as a family: what the registry hands out."""

from querypose_jax.models.edpose.check import check
from querypose_jax.models.edpose.explain import explain
from querypose_jax.models.edpose.model import EDPose
from querypose_jax.models.edpose.released import WEIGHTS
from querypose_jax.models.edpose.rows import rows
from querypose_jax.models.family import Family

FAMILY = Family(
    build=EDPose,
    defaults="configs.edpose.defaults",
    check=check,
    may_change=("model.remat", "model.backbone.remat"),
    weights=WEIGHTS,
    explain=explain,
    rows=rows,
    threshold=0.2,  # the authors' advice for drawing
    accumulates=True,
)
