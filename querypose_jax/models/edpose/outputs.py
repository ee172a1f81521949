"""What an ED-Pose predicts. Everything is relative to the valid part of the picture, in at least float32."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class People:
    """Of the human decoder's layers in order, then of the encoder (`interm`): S outputs."""

    logits: Float[Array, "S B N c"]
    """One column more than there are classes: column 0 is never positive, column c is class c - 1."""
    boxes: Float[Array, "S B N 4"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Instances:
    """Of the human-to-keypoint decoder's S layers in order."""

    logits: Float[Array, "S B I c"]
    boxes: Float[Array, "S B I 4"]
    points: Float[Array, "S B I K 2"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Denoised:
    """Of all S layers of both decoders, on queries whose people are known; and those people."""

    logits: Float[Array, "S B D c"]
    boxes: Float[Array, "S B D 4"]
    column: Int[Array, "B D"]
    """Of the person's class in the class logits; one beyond the last for nobody."""
    target: Float[Array, "B D 4"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Outputs:
    """Predictions, and what was chosen on the way."""

    people: People
    instances: Instances
    denoised: Denoised | None
    """None where nothing was drawn."""
    references: tuple[Float[Array, "B _ 4"], ...]
    """Boxes that layer i starts from, and last what the last layer ends with: of all queries, as they lie in a row."""
    queries: Float[Array, "B _ C"]
    """What enters the last layer, in the same row."""
    token: Int[Array, "B N"]
    """The token of the encoder that each person query comes from."""
    kept: Int[Array, "B I"]
    """The person query that each instance comes from."""
