"""What the rows of the shared parts' parameters stand for."""

from collections.abc import Mapping, Sequence

from querypose_jax.models.family import Rows
from querypose_jax.models.rows import NOBODY, class_rows, joint_rows
from querypose_jax.skeletons import Skeleton


def shared_rows(skeleton: Skeleton, classes: Sequence[str]) -> Mapping[str, Rows]:
    """Of joint embeddings, and of the class heads of tokens and queries, whose first column is nobody's."""
    return {
        r"^joint_embeddings$": joint_rows(skeleton, 0),
        r"^(class_heads\.\d+|token_scores\.classes)\.": class_rows(classes, -1, before=[NOBODY]),
    }
