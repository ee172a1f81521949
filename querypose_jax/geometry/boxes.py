"""Boxes: formats, deltas, overlap. All boxes are xyxy in pixels unless a name says otherwise."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

CENTRE_WEIGHT = 2.0  # centre deltas are divided by this, size deltas by 1
MAX_LOG_GROWTH = math.log(100_000 / 16)  # a box grows by at most this factor in a step, so that exp stays finite


def from_cxcywh(boxes: Float[Array, "*B 4"]) -> Float[Array, "*B 4"]:
    """Centre and size to corners."""
    centre, half = boxes[..., :2], 0.5 * boxes[..., 2:]
    return jnp.concatenate([centre - half, centre + half], -1)


def area(boxes: Float[Array, "*B 4"]) -> Float[Array, "*B"]:
    """Width times height; positive for boxes with both sides negative, as in the released code."""
    return jnp.prod(boxes[..., 2:] - boxes[..., :2], -1)


def apply_deltas(deltas: Float[Array, "*B 4"], boxes: Float[Array, "*B 4"]) -> Float[Array, "*B 4"]:
    """Moves boxes by predicted deltas (dx, dy, dw, dh).

    Centres move by a fraction of the box size, sizes change by a factor: scale-free, as in Faster R-CNN.
    Boxes may leave the picture: the cascade never clips.
    """
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    centre = centre + deltas[..., :2] / CENTRE_WEIGHT * size
    size = size * jnp.exp(jnp.minimum(deltas[..., 2:], MAX_LOG_GROWTH))
    return from_cxcywh(jnp.concatenate([centre, size], -1))


def giou(a: Float[Array, "*A 4"], b: Float[Array, "*B 4"], epsilon: float = 0.0) -> Float[Array, "..."]:
    """Generalised IoU in [-1, 1] (Rezatofighi et al. 2019), elementwise with broadcasting.

    `epsilon` is added to both areas that are divided by; without one, as QueryPose is released, two boxes of zero area
    give NaN.
    """
    intersection = jnp.prod(
        jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2]), 0), -1
    )
    union = area(a) + area(b) - intersection
    hull = jnp.prod(jnp.maximum(jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2]), 0), -1)
    return intersection / (union + epsilon) - (hull - union) / (hull + epsilon)


def picture_scale(size: Array, dtype: jnp.dtype) -> Float[Array, "*B 4"]:
    """(h, w) of pictures to the (w, h, w, h) that boxes are divided by."""
    h, w = size[..., 0], size[..., 1]
    return jnp.stack([w, h, w, h], -1).astype(dtype)
