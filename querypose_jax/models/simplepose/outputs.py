"""What a SimplePose predicts."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Maps:
    """Maps at stride 4, of all S stacks or, without the S, of one. E = limbs of the skeleton."""

    heatmaps: Float[Array, "*S B h w K"]
    """How likely each joint is at each cell, about 0 to 1."""
    offsets: Float[Array, "*S B h w E 2"]
    """From a cell near the start of a limb to the limb's end, x and y in network pixels."""
    scales: Float[Array, "*S B h w K"] | None = None
    """Size of the joint in network pixels; None without a scale head."""
