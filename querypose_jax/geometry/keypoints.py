"""Keypoints relative to a box and back."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def to_box_relative(
    keypoints: Float[Array, "*B K 3"], boxes: Float[Array, "*B 4"]
) -> tuple[Float[Array, "*B K 2"], Bool[Array, "*B K"]]:
    """Pixels to box units: (-0.5, -0.5) is the top-left corner, (0.5, 0.5) the bottom-right one.

    Returns:
        The relative positions, and which keypoints a loss may use: labelled and inside the box, borders included.
    """
    size = (boxes[..., 2:] - boxes[..., :2])[..., None, :]
    offset = keypoints[..., :2] - boxes[..., None, :2]
    inside = jnp.all((offset >= 0) & (offset <= size), -1)
    return offset / size - 0.5, inside & (keypoints[..., 2] > 0)


def to_pixels(relative: Float[Array, "*B K 2"], boxes: Float[Array, "*B 4"]) -> Float[Array, "*B K 2"]:
    """Box units to pixels: the inverse of `to_box_relative`."""
    size = (boxes[..., 2:] - boxes[..., :2])[..., None, :]
    return (relative + 0.5) * size + boxes[..., None, :2]
