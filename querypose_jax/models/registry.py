"""From a config to a model."""

from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.models.base import PoseModel
from querypose_jax.models.querypose.model import QueryPose
from querypose_jax.skeletons import get_skeleton


def build_model(config: ConfigDict, *, rngs: nnx.Rngs) -> PoseModel:
    """The model that `config.model.name` names, with the skeleton of the data set.

    Raises:
        UserError: unknown model, backbone or skeleton.
    """
    if config.model.name == "querypose":
        skeleton = get_skeleton(config.data.skeleton)
        return QueryPose(config.model, skeleton, config.train.pictures_per_group, rngs, config.matching.solver)
    raise UserError(f"config.model.name={config.model.name!r} is unknown; known: querypose")
