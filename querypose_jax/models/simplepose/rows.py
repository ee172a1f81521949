"""What the rows of a SimplePose's parameters stand for."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from querypose_jax.models.family import Rows
from querypose_jax.models.rows import joint_rows, limb_rows
from querypose_jax.skeletons import get_skeleton


def rows(config: ConfigDict, classes: Sequence[str]) -> Mapping[str, Rows]:
    """`Family.rows`. A limb that runs the other way is another one: offsets lead from its first joint to its second."""
    skeleton = get_skeleton(config.data.skeleton)
    return {
        r"^network\.(heatmaps|scales)\.\d+\.": joint_rows(skeleton, -1),
        r"^network\.offsets\.\d+\.": limb_rows(skeleton, -1),
    }
