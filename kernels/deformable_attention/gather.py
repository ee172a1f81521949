"""Deformable attention by gathering 2x2 patches: the path of XLA, for CPUs and wherever no kernel is.

All levels of a picture and head lie on one canvas, below each other, with zeros between and beside them: the four cells
of a sample are one 2x2 patch, cells off a map are zeros of the canvas, and one program serves all levels. Queries come
in chunks, so that no more than the samples of a chunk are ever in memory; the backward pass gathers them again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Shapes = tuple[tuple[int, int], ...]

# Patches [B, Q, heads, levels, points, 2, 2, dim] of canvases [B, heads, h, w, dim]; indices end in (row, column).
GATHER = jax.lax.GatherDimensionNumbers(
    offset_dims=(5, 6, 7),
    collapsed_slice_dims=(),
    start_index_map=(2, 3),
    operand_batching_dims=(0, 1),
    start_indices_batching_dims=(0, 2),
)
SCATTER = jax.lax.ScatterDimensionNumbers(
    update_window_dims=(5, 6, 7),
    inserted_window_dims=(),
    scatter_dims_to_operand_dims=(2, 3),
    operand_batching_dims=(0, 1),
    scatter_indices_batching_dims=(0, 2),
)


class Taps(NamedTuple):
    """The 2x2 patch of each sample."""

    corner: Int[Array, "B Q heads levels points 2"]
    """Row and column of its top left cell on the canvas."""
    fraction: Float[Array, "B Q heads levels points 2"]
    """x, y of the sample in the patch, from 0 to below 1."""
    is_inside: Bool[Array, "B Q heads levels points"]
    """False for a sample so far off the map that no cell of it counts."""


def deformable_attention_gather(
    values: Float[Array, "B tokens heads dim"],
    locations: Float[Array, "B Q heads levels points 2"],
    weights: Float[Array, "B Q heads levels points"],
    shapes: Shapes,
    at_a_time: int,
) -> Float[Array, "B Q heads*dim"]:
    """See `kernels.deformable_attention.deformable_attention`; `at_a_time`: queries of a chunk."""
    dtype = jnp.promote_types(values.dtype, jnp.float32)
    out = attend(put_on_canvas(values, shapes), locations, weights.astype(dtype), shapes, at_a_time)
    return out.reshape(*out.shape[:2], -1).astype(values.dtype)


def put_on_canvas(values: Float[Array, "B tokens heads dim"], shapes: Shapes) -> Float[Array, "B heads _ _ dim"]:
    """Levels below each other, a row of zeros above each and below the last one, a column of zeros on both sides."""
    widest = max(width for _, width in shapes)
    ends = np.cumsum([height * width for height, width in shapes])
    levels = []
    for tokens, (height, width) in zip(jnp.split(values, ends[:-1], 1), shapes, strict=True):
        level = tokens.transpose(0, 2, 1, 3).reshape(len(values), -1, height, width, values.shape[-1])
        levels.append(jnp.pad(level, ((0, 0), (0, 0), (1, 0), (1, 1 + widest - width), (0, 0))))
    return jnp.pad(jnp.concatenate(levels, 2), ((0, 0), (0, 0), (0, 1), (0, 0), (0, 0)))


def sample_taps(locations: Float[Array, "B Q heads levels points 2"], shapes: Shapes) -> Taps:
    """Where on the canvas the cells around each sample are."""
    size = jnp.array([(width, height) for height, width in shapes])[:, None]  # levels 1 2
    top = jnp.array(np.cumsum([0] + [height + 1 for height, _ in shapes[:-1]]))[:, None]
    position = locations * size.astype(locations.dtype) - 0.5
    first = jnp.floor(position)
    is_inside = ((first >= -1) & (first < size)).all(-1)
    column, row = jnp.moveaxis(jnp.clip(first, -1, size - 1).astype(jnp.int32) + 1, -1, 0)  # the first is of zeros
    fraction = jnp.where(is_inside[..., None], position - first, 0)  # far away it may be inf - inf
    return Taps(jnp.stack([row + top, column], -1), fraction, is_inside)


def tents(fraction: Float[Array, "*T 2"]) -> Float[Array, "*T 2 2"]:
    """Bilinear weights of the cells (row, column) of a patch."""
    x, y = fraction[..., 0], fraction[..., 1]
    rows, columns = jnp.stack([1 - y, y], -1), jnp.stack([1 - x, x], -1)
    return rows[..., :, None] * columns[..., None, :]


def take_patches(
    canvas: Float[Array, "B heads _ _ dim"], corner: Int[Array, "B Q heads levels points 2"]
) -> Float[Array, "B Q heads levels points 2 2 dim"]:
    """The cells of each sample."""
    return jax.lax.gather(canvas, corner, GATHER, (1, 1, 2, 2, canvas.shape[-1]), mode="promise_in_bounds")


def add_patches(
    canvas: Float[Array, "B heads _ _ dim"],
    corner: Int[Array, "B Q heads levels points 2"],
    patches: Float[Array, "B Q heads levels points 2 2 dim"],
) -> Float[Array, "B heads _ _ dim"]:
    """The canvas with each patch added at its place."""
    return jax.lax.scatter_add(canvas, corner, patches, SCATTER, mode="promise_in_bounds")


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def attend(
    canvas: Float[Array, "B heads _ _ dim"],
    locations: Float[Array, "B Q heads levels points 2"],
    weights: Float[Array, "B Q heads levels points"],
    shapes: Shapes,
    at_a_time: int,
) -> Float[Array, "B Q heads dim"]:
    """Weighted sums of samples, in the type of the weights."""

    def chunk(_, operands):
        locations, weights = operands
        taps = sample_taps(locations, shapes)
        factors = jnp.where(taps.is_inside, weights, 0)[..., None, None] * tents(taps.fraction).astype(weights.dtype)
        patches = take_patches(canvas, taps.corner).astype(weights.dtype)
        return None, (factors[..., None] * patches).sum((3, 4, 5, 6))

    return in_chunks(chunk, None, (locations, weights), at_a_time)[1]


def forward(canvas, locations, weights, shapes, at_a_time):
    """Nothing but the operands is kept."""
    return attend(canvas, locations, weights, shapes, at_a_time), (canvas, locations, weights)


def backward(shapes, at_a_time, operands, dout):
    """Gradients of canvas, locations and weights, from each cell's product with its query's gradient."""
    canvas, locations, weights = operands
    size = jnp.array([(width, height) for height, width in shapes], locations.dtype)[:, None]

    def chunk(dcanvas, operands):
        locations, weights, dout = operands
        taps = sample_taps(locations, shapes)
        patches = take_patches(canvas, taps.corner).astype(weights.dtype)
        products = jnp.einsum("bqmlpijd,bqmd->bqmlpij", patches, dout, precision="highest")
        products = jnp.where(taps.is_inside[..., None, None], products, 0)
        fraction, weights_of_cells = taps.fraction.astype(weights.dtype), tents(taps.fraction).astype(weights.dtype)
        dweights = (products * weights_of_cells).sum((-2, -1))
        slope = weights[..., None] * slopes(products, fraction)
        factors = jnp.where(taps.is_inside, weights, 0)[..., None, None] * weights_of_cells
        dpatches = factors[..., None] * dout[:, :, :, None, None, None, None]
        return add_patches(dcanvas, taps.corner, dpatches), (slope.astype(locations.dtype) * size, dweights)

    zeros = jnp.zeros_like(canvas, weights.dtype)
    dcanvas, (dlocations, dweights) = in_chunks(chunk, zeros, (locations, weights, dout), at_a_time)
    return dcanvas.astype(canvas.dtype), dlocations, dweights


attend.defvjp(forward, backward)


def slopes(cells: Float[Array, "*T 2 2"], fraction: Float[Array, "*T 2"]) -> Float[Array, "*T 2"]:
    """Derivative by x and by y of the bilinear value of cells (row, column)."""
    x, y = fraction[..., 0], fraction[..., 1]
    across, down = cells[..., :, 1] - cells[..., :, 0], cells[..., 1, :] - cells[..., 0, :]
    return jnp.stack([across[..., 0] * (1 - y) + across[..., 1] * y, down[..., 0] * (1 - x) + down[..., 1] * x], -1)


def in_chunks(step: Callable, carry, operands: Sequence[Array], at_a_time: int):
    """Scans over chunks of the queries, axis 1 of all operands and results; zeros fill the last chunk."""
    queries = operands[0].shape[1]
    at_a_time = min(at_a_time, queries)
    count = -(-queries // at_a_time)

    def split(x):
        x = jnp.pad(x, ((0, 0), (0, count * at_a_time - queries), *[(0, 0)] * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(len(x), count, at_a_time, *x.shape[2:]), 1, 0)

    def join(x):
        x = jnp.moveaxis(x, 0, 1)
        return x.reshape(len(x), -1, *x.shape[3:])[:, :queries]

    carry, results = jax.lax.scan(step, carry, jax.tree.map(split, tuple(operands)))
    return carry, jax.tree.map(join, results)
