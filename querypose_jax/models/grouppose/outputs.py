"""What a Group Pose predicts."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Outputs:
    """Predictions of all outputs S: the decoder's layers in order, then the encoder (`interm`). Points are (x, y)
    relative to the valid part of the picture, in at least float32."""

    logits: Float[Array, "S B N _"]
    """One column more than there are classes: column 0 is never positive, column c is class c - 1."""
    points: Float[Array, "S B N K 2"]
    references: Float[Array, "S B N K+1 2"]
    """What layer i starts from, and last what the last layer ends with: the mean of the points, then the points."""
    queries: Float[Array, "B N K+1 C"]
    """What enters the last layer, positions added."""
    token: Int[Array, "B N"]
    """The token of the encoder that each instance comes from."""
