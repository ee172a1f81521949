"""RoIAlign by gathering from the flattened pyramid: the path for CPUs.

All levels of all pictures are laid end to end as rows of C channels; a sample is a weighted sum of four rows.
One program serves all levels, where a program per level would pool every box once per level.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kernels.roi_align.sampling import SAMPLES, box_samples


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

    sizes = [level.shape[1:3] for level in pyramid]
    level, x, y = box_samples(boxes, sizes, strides, cells)
    areas = [height * width for height, width in sizes]
    offsets = [pyramid[0].shape[0] * sum(areas[:i]) for i in range(len(areas))]
    first_row = jnp.array(offsets)[level] + picture * jnp.array(areas)[level]
    width = jnp.array([width for _, width in sizes])[level]

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
