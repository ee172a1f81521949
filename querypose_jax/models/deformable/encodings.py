"""Sine encodings of positions, and the logits of coordinates; in at least float32 whatever the model computes in."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

MAP_TEMPERATURE = 20.0  # of the positions of a map's cells, released
QUERY_TEMPERATURE = 10_000.0  # of reference points and boxes, released
LOGIT_EPSILON = 1e-3  # released; most DETRs have 1e-5


def logit(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Inverse sigmoid of coordinates, clipped to [0, 1]: within about +-6.9 (spec section 2)."""
    x = jnp.clip(x, 0, 1)
    return jnp.log(jnp.maximum(x, LOGIT_EPSILON) / jnp.maximum(1 - x, LOGIT_EPSILON))


def sine_features(angle: Float[Array, "*B"], features: int, temperature: float) -> Float[Array, "*B {features}"]:
    """sin and cos in turn of angle / t_k, t_k = temperature^(2 k / features) for the k-th pair (section 4)."""
    pairs = jnp.arange(features // 2, dtype=angle.dtype)
    scaled = angle[..., None] / temperature ** (2 * pairs / features)
    return jnp.stack([jnp.sin(scaled), jnp.cos(scaled)], -1).reshape(*angle.shape, features)


def encode_references(references: Float[Array, "*B c"], features: int) -> Float[Array, "*B _"]:
    """Points (x, y) or boxes (cx, cy, w, h) in [0, 1]: `features` numbers for each of y, x (, w, h) (section 9)."""
    order = (1, 0, 2, 3)[: references.shape[-1]]
    angles = 2 * math.pi * references
    return jnp.concatenate([sine_features(angles[..., i], features, QUERY_TEMPERATURE) for i in order], -1)


def encode_map(
    rows: Float[Array, "B h w"], columns: Float[Array, "B h w"], width: int
) -> Float[Array, "B h w {width}"]:
    """Counted positions relative to the picture, in [0, 1], of a map's cells: `width` / 2 numbers each, y first."""
    halves = [sine_features(2 * math.pi * x, width // 2, MAP_TEMPERATURE) for x in (rows, columns)]
    return jnp.concatenate(halves, -1)
