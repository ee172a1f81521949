"""What the rows of an ED-Pose's parameters stand for."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from querypose_jax.models.deformable.rows import shared_rows
from querypose_jax.models.family import Rows
from querypose_jax.models.rows import NOBODY, class_rows, joint_rows
from querypose_jax.skeletons import get_skeleton


def rows(config: ConfigDict, classes: Sequence[str]) -> Mapping[str, Rows]:
    """`Family.rows`. Label embeddings: those of the columns of the class heads, that of nobody's copies, and the spare
    ones that noise draws from."""
    skeleton = get_skeleton(config.data.skeleton)
    columns = class_rows(classes, 0, before=[NOBODY]).keys
    spare = range(len(columns) + 1, config.model.denoising.labels + 1)
    labels = Rows(0, (*columns, (("copy of nobody",),), *((("spare", index),) for index in spare)))
    return {
        **shared_rows(skeleton, classes),
        r"^joint_sides$": joint_rows(skeleton, 0),
        r"^label_embeddings$": labels,
    }
