"""RoIAlign as two matrix products: the path without gathers and scatters.

Sampling is separable, so pooling one box is Y F X^T with a cells x h matrix Y and a cells x w matrix X of tent-shaped
weights. Its backward pass is two more products, where the gather path scatters. Every level is pooled for every
box and masked: cheap while maps are small.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kernels.roi_align.sampling import SAMPLES, axis_samples, pyramid_level

product = partial(jnp.matmul, precision="highest")  # sampling weights keep their bits on accelerators


def tent_matrix(
    start: Float[Array, " Q"], end: Float[Array, " Q"], cells: int, size: int
) -> Float[Array, "Q cells size"]:
    """Weights with which each output cell takes the positions of a map axis; sides in map units."""
    samples = axis_samples(start, end, cells, jnp.full(start.shape, size))
    position = jnp.arange(size)
    weights = jnp.where(samples.low[..., None] == position, samples.low_weight[..., None], 0)
    weights += jnp.where(samples.high[..., None] == position, samples.high_weight[..., None], 0)
    return weights.reshape(-1, cells, SAMPLES, size).mean(2)


def roi_align_dense(
    pyramid: Sequence[Float[Array, "P _ _ C"]],
    boxes: Float[Array, "Q 4"],
    picture: Int[Array, " Q"],
    strides: Sequence[int],
    cells: int,
) -> Float[Array, "Q cells cells C"]:
    """See `kernels.roi_align.roi_align`."""
    boxes = jax.lax.stop_gradient(boxes)
    level = pyramid_level(boxes, len(pyramid))
    dtype = jnp.promote_types(pyramid[0].dtype, jnp.float32)
    pooled = jnp.zeros((boxes.shape[0], cells, cells, pyramid[0].shape[-1]), dtype)
    for index, (feature, stride) in enumerate(zip(pyramid, strides, strict=True)):
        pooled += pool_level(feature.astype(dtype), boxes / stride - 0.5, picture, cells, level == index)
    return pooled.astype(pyramid[0].dtype)


def pool_level(
    feature: Float[Array, "P h w C"], scaled: Float[Array, "Q 4"], picture: Array, cells: int, is_level: Array
) -> Float[Array, "Q cells cells C"]:
    """Pools every box (map units) from one level; zero for boxes of other levels."""
    pictures, height, width, channels = feature.shape
    y = tent_matrix(scaled[:, 1], scaled[:, 3], cells, height).astype(feature.dtype)
    x = tent_matrix(scaled[:, 0], scaled[:, 2], cells, width).astype(feature.dtype)
    y = jnp.where(is_level[:, None, None], y, 0)
    if pictures == 1:
        rows = product(y.reshape(-1, height), feature.reshape(height, -1))
    else:
        select = jax.nn.one_hot(picture, pictures, dtype=feature.dtype)  # a product, so that its backward pass is one
        rows = product(y, product(select, feature.reshape(pictures, -1)).reshape(-1, height, width * channels))
    rows = rows.reshape(-1, cells, width, channels)
    # A product per row of cells: one product per box would transpose `rows` in memory first.
    return product(jnp.broadcast_to(x[:, None], (x.shape[0], cells, cells, width)), rows)
