"""RoIAlign by gathering from the flattened pyramid: the path for CPUs.

All levels of all pictures are laid end to end as rows of C channels; a sample is a weighted sum of four rows.
One program serves all levels, where a program per level would pool every box once per level.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kernels.roi_align.sampling import SAMPLES, axis_samples, pyramid_level


def roi_align_gather(
    pyramid: Sequence[Float[Array, "P _ _ C"]],
    boxes: Float[Array, "Q 4"],
    picture: Int[Array, " Q"],
    strides: Sequence[int],
    cells: int,
) -> Float[Array, "Q cells cells C"]:
    """See `kernels.roi_align.roi_align`."""
    boxes = jax.lax.stop_gradient(boxes)
    channels = pyramid[0].shape[-1]
    flat = jnp.concatenate([level.reshape(-1, channels) for level in pyramid])

    # Tables over levels, looked up per box.
    heights = jnp.array([level.shape[1] for level in pyramid])
    widths = jnp.array([level.shape[2] for level in pyramid])
    sizes = [level.shape[0] * level.shape[1] * level.shape[2] for level in pyramid]
    offsets = jnp.array([sum(sizes[:i]) for i in range(len(sizes))])
    level = pyramid_level(boxes, len(pyramid))
    height, width = heights[level], widths[level]
    stride = jnp.array(strides, boxes.dtype)[level]

    scaled = boxes / stride[:, None] - 0.5
    x = axis_samples(scaled[:, 0], scaled[:, 2], cells, width)
    y = axis_samples(scaled[:, 1], scaled[:, 3], cells, height)
    first_row = offsets[level] + picture * height * width

    dtype = jnp.promote_types(flat.dtype, jnp.float32)
    samples = cells * SAMPLES
    pooled = jnp.zeros((boxes.shape[0], samples, samples, channels), dtype)
    for row, row_weight in ((y.low, y.low_weight), (y.high, y.high_weight)):
        for column, column_weight in ((x.low, x.low_weight), (x.high, x.high_weight)):
            index = (first_row[:, None] + row * width[:, None])[:, :, None] + column[:, None, :]
            weight = (row_weight[:, :, None] * column_weight[:, None, :]).astype(dtype)
            pooled = pooled + flat[index].astype(dtype) * weight[..., None]
    pooled = pooled.reshape(-1, cells, SAMPLES, cells, SAMPLES, channels).mean((2, 4))
    return pooled.astype(flat.dtype)
