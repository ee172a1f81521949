"""What the rows of a QueryPose's parameters stand for."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from querypose_jax.models.family import Rows
from querypose_jax.models.rows import class_rows, joint_rows, numbered_rows, part_rows
from querypose_jax.skeletons import get_skeleton


def rows(config: ConfigDict, classes: Sequence[str]) -> Mapping[str, Rows]:
    """`Family.rows`. A joint that is carried over reads the query of the part that it was in before."""
    skeleton = get_skeleton(config.data.skeleton)
    return {
        r"^proposal_(boxes|queries)$": numbered_rows(config.model.num_proposals, 0),
        r"^part_queries$": part_rows(skeleton, 0),
        r"^pose_decoders\.\d+\.part_residuals\.": part_rows(skeleton, 0),
        r"^pose_decoders\.\d+\.part_embedding\.attention\.": part_rows(skeleton, -1),
        r"^pose_decoders\.\d+\.(coordinates|uncertainty)\.": joint_rows(skeleton, 0),
        r"^box_decoders\.\d+\.class_logits\.": class_rows(classes, -1),
    }
