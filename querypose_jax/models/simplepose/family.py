"""SimplePose as a family: what the registry hands out."""

from querypose_jax.models.family import Family
from querypose_jax.models.simplepose.check import check
from querypose_jax.models.simplepose.explain import explain
from querypose_jax.models.simplepose.model import SimplePose
from querypose_jax.models.simplepose.released import WEIGHTS
from querypose_jax.models.simplepose.rows import rows
from querypose_jax.models.simplepose.targets import ideal_maps

FAMILY = Family(
    build=SimplePose,
    defaults="configs.simplepose.defaults",
    check=check,
    ideal_outputs=ideal_maps,
    may_change=("model.backbone.remat",),
    weights=WEIGHTS,
    explain=explain,
    rows=rows,
)
