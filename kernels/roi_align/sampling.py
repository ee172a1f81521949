"""Where RoIAlign samples: the index and weight arithmetic that every path shares (aligned variant).

Sampling is separable: the positions, validity and weights of x and y do not depend on each other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SAMPLES = 2  # per cell and axis
FARTHEST = 2.0**24  # map units; keeps the whole parts in int32


class AxisSamples(NamedTuple):
    """Samples of one axis: two neighbouring map indices and their weights, both zero for samples off the map."""

    low: Int[Array, "*B T"]
    high: Int[Array, "*B T"]
    low_weight: Float[Array, "*B T"]
    high_weight: Float[Array, "*B T"]


def axis_samples(start: Float[Array, "*B"], end: Float[Array, "*B"], cells: int, size: Int[Array, "*B"]) -> AxisSamples:
    """T = cells * SAMPLES evenly spaced samples between two box sides along one axis.

    Sample k lies at start + (end - start) (2k + 1) / 2T. Whole and fractional parts are kept apart, so that a weight is
    as exact for a sample at position 200 as for one at 0.2: plain float32 arithmetic would lose 1e-5.

    Args:
        start, end: box sides in map units (pixels / stride - 0.5); beyond +-FARTHEST they are cut.
        cells: output cells of this axis.
        size: length of the map along this axis.
    """
    start, end = (jnp.clip(side, -FARTHEST, FARTHEST)[..., None] for side in (start, end))
    whole_start, whole_end = (jnp.floor(side).astype(jnp.int32) for side in (start, end))
    start_rest, end_rest = start - jnp.floor(start), end - jnp.floor(end)
    samples = cells * SAMPLES
    odd = 2 * jnp.arange(samples, dtype=jnp.int32) + 1
    whole, rest = jnp.divmod((whole_end - whole_start) * odd, 2 * samples)
    fraction = start_rest + (rest + (end_rest - start_rest) * odd) / (2 * samples)
    carry = jnp.floor(fraction)
    low = whole_start + whole + carry.astype(jnp.int32)
    fraction = fraction - carry

    limit = size[..., None]
    # One position beyond the border still counts, as in the original; on the border itself only if exactly there.
    inside = (low >= -1) & ((low < limit) | ((low == limit) & (fraction == 0)))
    fraction = jnp.where((low < 0) | (low >= limit - 1), 0, fraction)
    low = jnp.clip(low, 0, limit - 1)
    high = jnp.minimum(low + 1, limit - 1)
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


class BoxSamples(NamedTuple):
    """What each box is pooled from: its level, and its samples in positions of the map of that level."""

    level: Int[Array, "*B"]
    x: AxisSamples
    y: AxisSamples


def box_samples(
    boxes: Float[Array, "*B 4"], sizes: Sequence[tuple[int, int]], strides: Sequence[int], cells: int
) -> BoxSamples:
    """Samples of xyxy boxes in pixels; `sizes` are height and width of each level's map, `strides` in pixels."""
    level = pyramid_level(boxes, len(sizes))
    scaled = boxes / jnp.array(strides, boxes.dtype)[level][..., None] - 0.5
    height, width = (jnp.array(side)[level] for side in zip(*sizes, strict=True))
    x = axis_samples(scaled[..., 0], scaled[..., 2], cells, width)
    y = axis_samples(scaled[..., 1], scaled[..., 3], cells, height)
    return BoxSamples(level, x, y)


class AxisTaps(NamedTuple):
    """The same samples sorted by output cell: a cell is the weighted sum of `TAPS` map positions of this axis."""

    position: Int[Array, "*B cells taps"]
    weight: Float[Array, "*B cells taps"]


TAPS = 2 * SAMPLES  # two neighbours of each sample


def axis_taps(samples: AxisSamples) -> AxisTaps:
    """Groups the samples of an axis by output cell; the weights hold the mean over a cell's samples."""
    index = jnp.stack([samples.low, samples.high], -1)
    weight = jnp.stack([samples.low_weight, samples.high_weight], -1) / SAMPLES
    shape = (*index.shape[:-2], -1, TAPS)
    return AxisTaps(index.reshape(shape), weight.reshape(shape))


def merge_taps(taps: AxisTaps) -> AxisTaps:
    """Moves the weights of a cell's taps on the same position to the first of them; the others keep weight zero."""
    is_same = taps.position[..., :, None] == taps.position[..., None, :]
    is_first = jnp.argmax(is_same, -1) == jnp.arange(TAPS)
    total = jnp.where(is_same, taps.weight[..., None, :], 0).sum(-1)
    return AxisTaps(taps.position, jnp.where(is_first, total, 0))
