"""What the rows of a Group Pose's parameters stand for."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from querypose_jax.models.deformable.rows import shared_rows
from querypose_jax.models.family import Rows
from querypose_jax.models.rows import coordinate_rows
from querypose_jax.skeletons import get_skeleton


def rows(config: ConfigDict, classes: Sequence[str]) -> Mapping[str, Rows]:
    """`Family.rows`. Heads that move a joint are the same for all joints."""
    skeleton = get_skeleton(config.data.skeleton)
    return {**shared_rows(skeleton, classes), r"^token_pose\.layers\.3\.": coordinate_rows(skeleton, -1)}
