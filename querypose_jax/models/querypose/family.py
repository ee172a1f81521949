"""QueryPose as a family: what the registry hands out."""

from collections.abc import Mapping

from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.models.family import Family, Rescoring
from querypose_jax.models.querypose.check import check
from querypose_jax.models.querypose.explain import explain
from querypose_jax.models.querypose.model import QueryPose
from querypose_jax.models.querypose.pruning import BEST_CHUNK, Pruning
from querypose_jax.models.querypose.released import WEIGHTS
from querypose_jax.models.querypose.released_rescore import rescore_results
from querypose_jax.models.querypose.rows import rows
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch, Poses


def build(config: ConfigDict, rngs: nnx.Rngs) -> QueryPose:
    """The model of a whole configuration."""
    skeleton = get_skeleton(config.data.skeleton)
    return QueryPose(config.model, skeleton, config.train.pictures_per_group, rngs, config.matching.solver)


def rescorings(config: ConfigDict) -> Mapping[str, Rescoring]:
    """The released rescoring step where it is asked for: for comparison with published numbers only."""
    return {"keypoint_released_rescore": rescore_results} if config.eval.released_rescore else {}


def predict_fixed(model: QueryPose, batch: Batch) -> Poses:
    """Pose stages for the best boxes of one chunk, whatever is left: faster than pruning, and not exact."""
    return model.predict_pruned(batch, Pruning(BEST_CHUNK, most_chunks=1))


FAMILY = Family(
    build=build,
    defaults="configs.querypose",
    check=check,
    may_change=("model.roi_align", "model.remat", "model.backbone.remat"),
    exported={"model.roi_align": "auto"},
    weights=WEIGHTS,
    rows=rows,
    explain=explain,
    rescorings=rescorings,
    ways_to_predict={f"fixed k={BEST_CHUNK}": predict_fixed},
)
