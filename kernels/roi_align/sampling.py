"""Where RoIAlign samples: the index and weight arithmetic that every path shares (aligned variant).

Sampling is separable: the positions, validity and weights of x and y do not depend on each other.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SAMPLES = 2  # per cell and axis


class AxisSamples(NamedTuple):
    """Samples of one axis: two neighbouring map indices and their weights, both zero for samples off the map."""

    low: Int[Array, "*B T"]
    high: Int[Array, "*B T"]
    low_weight: Float[Array, "*B T"]
    high_weight: Float[Array, "*B T"]


def axis_samples(
    start: Float[Array, "*B"], end: Float[Array, "*B"], cells: int, size: Int[Array, "*B"]
) -> AxisSamples:
    """Samples between two box sides along one axis.

    Args:
        start, end: box sides in map units (pixels / stride - 0.5).
        cells: output cells of this axis; T = cells * SAMPLES.
        size: length of the map along this axis.
    """
    step = (end - start) / cells
    offsets = jnp.arange(cells).repeat(SAMPLES) + (jnp.tile(jnp.arange(SAMPLES), cells) + 0.5) / SAMPLES
    position = start[..., None] + offsets.astype(start.dtype) * step[..., None]
    limit = size[..., None]
    inside = (position >= -1) & (position <= limit)  # one pixel beyond the border still counts, as in the original
    position = jnp.clip(position, 0, limit.astype(position.dtype))  # keeps the index of a far sample finite
    low = jnp.minimum(jnp.floor(position).astype(jnp.int32), limit - 1)
    high = jnp.minimum(low + 1, limit - 1)
    fraction = jnp.where(low >= limit - 1, 0, position - low)
    return AxisSamples(low, high, jnp.where(inside, 1 - fraction, 0), jnp.where(inside, fraction, 0))


def pyramid_level(boxes: Float[Array, "*B 4"], levels: int) -> Int[Array, "*B"]:
    """Which pyramid level (0 = finest, P2) a box is pooled from: P4 at 224 pixels, one level per octave.

    The rule floor(4 + log2(sqrt(w h) / 224)), written with thresholds on the area: the logarithm of exact powers
    of two may round to the wrong side.
    """
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    thresholds = [112.0 * 2.0**level for level in range(levels - 1)]  # sides in pixels from which level 1, 2, .. starts
    area = width * height
    return sum(((area >= side * side).astype(jnp.int32) for side in thresholds), jnp.zeros(area.shape, jnp.int32))
