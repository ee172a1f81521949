"""RoIAlign as two matrix products: the path without gathers and scatters, for TPUs and for small maps.

Sampling is separable, so pooling one box is Y F X^T with a cells x h matrix Y and a cells x w matrix X of tent-shaped
weights. Its backward pass is two more products, where the gather path scatters. All levels lie on one canvas and all
pictures below each other, so that one pair of products serves every box: level and picture of a box shift its tents.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kernels.roi_align.sampling import AxisTaps, axis_taps, box_samples


def canvas_offsets(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Top left corner of each level (height, width) on the canvas: the first on top, the others side by side below."""
    widths = [width for _, width in sizes[1:]]
    return [(0, 0), *((sizes[0][0], sum(widths[:i])) for i in range(len(widths)))]


def put_on_canvas(pyramid: Sequence[Float[Array, "P _ _ C"]]) -> Float[Array, "P _ _ C"]:
    """All levels on one map; what they leave free is zero and never read with a weight."""
    first, *others = pyramid
    if not others:
        return first
    height = max(level.shape[1] for level in others)
    below = jnp.concatenate([widen(level, height, level.shape[2]) for level in others], 2)
    width = max(first.shape[2], below.shape[2])
    return jnp.concatenate([widen(first, first.shape[1], width), widen(below, height, width)], 1)


def widen(level: Float[Array, "P _ _ C"], height: int, width: int) -> Float[Array, "P {height} {width} C"]:
    """Zeros below and to the right of a map."""
    return jnp.pad(level, ((0, 0), (0, height - level.shape[1]), (0, width - level.shape[2]), (0, 0)))


def tent_matrix(taps: AxisTaps, offset: Int[Array, " Q"], size: int) -> Float[Array, "Q cells {size}"]:
    """Weights with which each output cell takes the positions of a canvas axis, its taps moved by the box's offset."""
    hit = (taps.position + offset[:, None, None])[..., None] == jnp.arange(size)
    return jnp.where(hit, taps.weight[..., None], 0).sum(2)


def roi_align_dense(
    pyramid: Sequence[Float[Array, "P _ _ C"]],
    boxes: Float[Array, "Q 4"],
    picture: Int[Array, " Q"],
    strides: Sequence[int],
    cells: int,
    factors: jnp.dtype = jnp.float32,
) -> Float[Array, "Q cells cells C"]:
    """See `kernels.roi_align.roi_align`.

    Args:
        factors: what is multiplied in, if not wider features ask for more; sums are at least float32. With bfloat16
            the weights and the rows in between are rounded like the features.
    """
    sizes = [level.shape[1:3] for level in pyramid]
    level, x, y = box_samples(jax.lax.stop_gradient(boxes), sizes, strides, cells)
    dtype = jnp.promote_types(pyramid[0].dtype, factors)
    product = partial(jnp.einsum, precision="highest", preferred_element_type=jnp.promote_types(dtype, jnp.float32))
    canvas = put_on_canvas(pyramid).astype(dtype)
    pictures, height, width, channels = canvas.shape
    top, left = (jnp.array(offset)[level] for offset in zip(*canvas_offsets(sizes), strict=True))
    y_tents = tent_matrix(axis_taps(y), top + picture * height, pictures * height).astype(dtype)
    x_tents = tent_matrix(axis_taps(x), left, width).astype(dtype)
    # Rows keep width and channels apart: to split them afterwards, a TPU moves all of them in memory.
    y_tents, tall = y_tents.reshape(-1, pictures * height), canvas.reshape(pictures * height, width, channels)
    rows = product("rh,hwc->rwc", y_tents, tall).astype(dtype)
    # A product per row of cells: one product per box would transpose `rows` in memory first.
    x_tents = jnp.broadcast_to(x_tents[:, None], (len(boxes), cells, cells, width)).reshape(-1, cells, width)
    pooled = product("rxw,rwc->rxc", x_tents, rows)
    return pooled.reshape(-1, cells, cells, channels).astype(pyramid[0].dtype)
