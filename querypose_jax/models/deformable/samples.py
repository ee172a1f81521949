"""Where deformable attention reads, for figures: samples of the maps as places on the picture."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from querypose_jax.models.deformable.decode import to_pixels
from querypose_jax.models.deformable.tokens import Tokens
from querypose_jax.structures import Batch


def on_picture(
    locations: Float[Array, "B Q heads L P 2"],
    weights: Float[Array, "B Q heads L P"],
    tokens: Tokens,
    batch: Batch,
) -> Float[Array, "B Q heads*L*P 3"]:
    """x, y (continuous original pixels) and weight of all samples of a query; its weights sum to 1.

    Args:
        locations: in [0, 1] of the padded maps.
        weights: they sum to 1 in each head.
        tokens: tell which part of each map shows the picture.
        batch: tells where the pictures are.
    """
    pictures, queries, heads = weights.shape[:3]
    relative = locations / tokens.valid_ratios[:, None, None, :, None]
    places = to_pixels(relative.reshape(pictures, queries, -1, 2), batch)
    shares = weights.reshape(pictures, queries, -1, 1) / heads
    return jnp.concatenate([places, shares], -1)
