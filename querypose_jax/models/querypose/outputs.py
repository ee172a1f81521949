"""What a QueryPose predicts."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

from kernels.assignment import Matches
from querypose_jax.models.querypose.packing import Rows


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Outputs:
    """Predictions of all stages. Instances of the pose decoder: matched rows [D, R] in training, else all [B, N]."""

    logits: Float[Array, "S B N _"]
    boxes: Float[Array, "S B N 4"]
    """Network pixels, not clipped."""
    xy: Float[Array, "S D Q K 2"]
    sigma: Float[Array, "S D Q K 2"]
    matches: Matches | None
    """Leading S; None outside of training."""
    rows: Rows | None
