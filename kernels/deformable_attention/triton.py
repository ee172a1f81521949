"""Deformable attention as a CUDA kernel, forward and backward: Pallas with its Triton lowering.

A program serves one picture, one head and a tile of neighbouring queries. Samples are rows of a tile, channels are its
contiguous columns, so that every load is wide, and the loads of a level's four corners are independent of each other.
The values of a picture fit into the L2 cache of a large GPU, and neighbouring queries read neighbouring cells. Values
may be bfloat16; places, weights and sums are at least float32.

The backward pass reads the samples again instead of keeping them. Gradients of locations and weights are sums over the
channels of a sample, each written once; those of the values are added up with atomics, in an order that changes from
run to run: where `kernels.determinism` is on, as `kernels.exact_sums`, which the order does not change.

Why Pallas with Triton, and where it goes when jax loses it, is in docs/benchmarks.md, "The CUDA kernels"; this file is
all that will change.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Bool, Float, Int

from kernels.deformable_attention.gather import Shapes
from kernels.determinism import wants_determinism
from kernels.exact_sums import PARTS, cut, grids, joined
from kernels.relaxed_additions import relax_additions

relax_additions()


class Tile(NamedTuple):
    """Work of one program."""

    queries: int
    """A power of two."""
    warps: int


FORWARD, BACKWARD = Tile(8, 4), Tile(8, 4)


class Layout(NamedTuple):
    """The static part of a call."""

    shapes: Shapes
    forward: Tile
    backward: Tile
    interpret: bool


class Place(NamedTuple):
    """Where a tile of queries samples one level: a row per query, a column per point."""

    top: Int[Array, "tile points"]
    left: Int[Array, "tile points"]
    x: Float[Array, "tile points"]
    """In the 2x2 patch, from 0 to below 1."""
    y: Float[Array, "tile points"]
    is_inside: Bool[Array, "tile points"]
    """False for samples so far off the map that no cell of it counts, and where the tile has no sample."""


def deformable_attention_triton(
    values: Float[Array, "B tokens heads dim"],
    locations: Float[Array, "B Q heads levels points 2"],
    weights: Float[Array, "B Q heads levels points"],
    shapes: Shapes,
    forward: Tile = FORWARD,
    backward: Tile = BACKWARD,
    interpret: bool = False,
) -> Float[Array, "B Q heads*dim"]:
    """See `kernels.deformable_attention.deformable_attention`. Positions are 32-bit: values have below 2^31 numbers.

    Args:
        forward, backward: how much a program does at a time.
        interpret: run the kernel as plain JAX, on any platform and slowly: for tests.
    """
    dtype = jnp.promote_types(values.dtype, jnp.float32)
    out = attend(values, locations, weights.astype(dtype), Layout(tuple(shapes), forward, backward, interpret))
    return out.reshape(*out.shape[:2], -1)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(
    values: Float[Array, "B tokens heads dim"],
    locations: Float[Array, "B Q heads levels points 2"],
    weights: Float[Array, "B Q heads levels points"],
    layout: Layout,
) -> Float[Array, "B Q heads dim"]:
    """Weighted sums of samples, in the type of the values."""
    shape = (*weights.shape[:3], values.shape[-1])
    return pl.pallas_call(
        partial(attend_kernel, shapes=layout.shapes, tile=layout.forward.queries),
        out_shape=jax.ShapeDtypeStruct(shape, values.dtype),
        grid=grid(weights.shape, layout.forward),
        compiler_params=plgpu.CompilerParams(num_warps=layout.forward.warps, num_stages=1),
        interpret=layout.interpret,
        name="deformable_attention",
    )(values, locations, weights)


def attend_forward(values, locations, weights, layout: Layout):
    """Nothing but the operands is kept."""
    return attend(values, locations, weights, layout), (values, locations, weights)


def attend_backward(layout: Layout, operands, cotangent: Float[Array, "B Q heads dim"]):
    """Gradients of values, locations and weights, in their types."""
    _, locations, weights = operands
    steps = value_grids(weights, cotangent) if wants_determinism() else None
    zeros = [jnp.zeros_like(operands[0], weights.dtype)] * (PARTS if steps is not None else 1)
    grid_operands = [steps] if steps is not None else []
    first = len(operands) + 1 + len(grid_operands)  # of the zeros
    *parts, dlocations, dweights = pl.pallas_call(
        partial(pull_back_kernel, shapes=layout.shapes, tile=layout.backward.queries, has_grids=steps is not None),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (*zeros, locations, weights)],
        grid=grid(weights.shape, layout.backward),
        input_output_aliases={first + part: part for part in range(len(zeros))},
        compiler_params=plgpu.CompilerParams(num_warps=layout.backward.warps, num_stages=1),
        interpret=layout.interpret,
        name="deformable_attention_backward",
    )(*operands, cotangent, *grid_operands, *zeros)
    return joined(parts).astype(operands[0].dtype), dlocations, dweights


def value_grids(
    weights: Float[Array, "B Q heads levels points"], cotangent: Float[Array, "B Q heads dim"]
) -> Float[Array, " parts"]:
    """Grids for the gradients of values: each query adds to a cell at most all its weights, each sample once."""
    _, queries, _, _, points = weights.shape
    of_query = jnp.abs(weights).sum((-2, -1)) * jnp.abs(cotangent).max(-1).astype(weights.dtype)
    return grids(of_query.max() * queries, queries * points)


attend.defvjp(attend_forward, attend_backward)


def grid(shape: tuple[int, ...], tile: Tile) -> tuple[int, int, int]:
    """Tiles of queries, heads, pictures: those that run at a time share a head's values."""
    pictures, queries, heads = shape[:3]
    return -(-queries // tile.queries), heads, pictures


def attend_kernel(values, locations, weights, out, *, shapes: Shapes, tile: int) -> None:
    """One tile of queries of one head."""
    picture, head, queries, is_query = my_queries(out.shape[1], tile)
    channels, is_channel = padded_range(out.shape[-1])
    points, is_point = padded_range(weights.shape[-1])
    dtype = weights.dtype
    total = jnp.zeros((tile, points.size, channels.size), dtype)
    for level, size in enumerate(shapes):
        is_sample = is_query[:, None] & is_point[None]
        at = (picture, queries[:, None], head, level, points[None])
        place = sample_place(locations, at, is_sample, size)
        weight = plgpu.load(weights.at[at], mask=is_sample, other=0)
        for row, column, tent in corners(place):
            token, is_there = cell(place, row, column, shapes, level)
            value = take(values, picture, token, head, channels, is_there, is_channel)
            total += value.astype(dtype) * jnp.where(is_there, weight * tent, 0)[:, :, None]
    attended = total.sum(1).astype(out.dtype)
    mask = is_query[:, None] & is_channel[None]
    plgpu.store(out.at[picture, queries[:, None], head, channels[None]], attended, mask=mask)


def pull_back_kernel(values, locations, weights, cotangent, *refs, shapes: Shapes, tile: int, has_grids: bool) -> None:
    """The transpose of `attend_kernel`; refs are the grids, zeros, and what becomes of them: the parts of the values'
    gradients, and the gradients of locations and weights."""
    grid_refs, others = refs[:has_grids], refs[has_grids:]
    *parts, dlocations, dweights = others[(len(others) - 2) // 2 :]
    steps = [grid_refs[0][number] for number in range(len(parts))] if has_grids else []
    picture, head, queries, is_query = my_queries(cotangent.shape[1], tile)
    channels, is_channel = padded_range(cotangent.shape[-1])
    points, is_point = padded_range(weights.shape[-1])
    dtype = weights.dtype
    mask = is_query[:, None] & is_channel[None]
    dout = plgpu.load(cotangent.at[picture, queries[:, None], head, channels[None]], mask=mask, other=0).astype(dtype)
    # Additions have no mask, which the interpreter lacks: what is off a map adds zeros to the nearest cell of it.
    inner_channels = jnp.minimum(channels, cotangent.shape[-1] - 1) if channels.size > cotangent.shape[-1] else channels
    for level, size in enumerate(shapes):
        is_sample = is_query[:, None] & is_point[None]
        at = (picture, queries[:, None], head, level, points[None])
        place = sample_place(locations, at, is_sample, size)
        weight = plgpu.load(weights.at[at], mask=is_sample, other=0)
        dweight = across = down = jnp.zeros(is_sample.shape, dtype)
        for row, column, tent in corners(place):
            token, is_there = cell(place, row, column, shapes, level)
            value = take(values, picture, token, head, channels, is_there, is_channel).astype(dtype)
            product = (value * dout[:, None]).sum(2)
            dweight += product * tent
            across += product * (place.y if row else 1 - place.y) * (1 if column else -1)
            down += product * (place.x if column else 1 - place.x) * (1 if row else -1)
            dvalue = jnp.where(is_there, weight * tent, 0)[:, :, None] * dout[:, None]
            for number, part in enumerate(parts):
                now, dvalue = cut(dvalue, steps[number]) if has_grids else (dvalue, None)
                jax.ref.addupdate(part, (picture, token[:, :, None], head, inner_channels[None, None]), now)
        height, width = size
        plgpu.store(dweights.at[at], dweight, mask=is_sample)
        plgpu.store(dlocations.at[*at, 0], (weight * across * width).astype(dlocations.dtype), mask=is_sample)
        plgpu.store(dlocations.at[*at, 1], (weight * down * height).astype(dlocations.dtype), mask=is_sample)


def my_queries(queries: int, tile: int) -> tuple[Array, Array, Int[Array, " tile"], Bool[Array, " tile"]]:
    """Picture, head and queries of this program; the last tile may have fewer."""
    mine = pl.program_id(0) * tile + jnp.arange(tile, dtype=jnp.int32)
    return pl.program_id(2), pl.program_id(1), mine, mine < queries


def padded_range(size: int) -> tuple[Int[Array, " padded"], Bool[Array, " padded"]]:
    """0 to the next power of two, which Triton asks for, and which of them are below `size`."""
    numbers = jnp.arange(pl.next_power_of_2(size), dtype=jnp.int32)
    return numbers, jnp.ones(size, bool) if numbers.size == size else numbers < size


def sample_place(locations, at: tuple, is_sample: Bool[Array, "tile points"], size: tuple[int, int]) -> Place:
    """Reads where the samples of a level lie; `at` is the index of a location, `size` height and width of the map."""
    height, width = size
    x = plgpu.load(locations.at[*at, 0], mask=is_sample, other=0) * width - 0.5
    y = plgpu.load(locations.at[*at, 1], mask=is_sample, other=0) * height - 0.5
    left, top = jnp.floor(x), jnp.floor(y)
    is_inside = is_sample & (left >= -1) & (left < width) & (top >= -1) & (top < height)
    x, y = (jnp.where(is_inside, place - first, 0) for place, first in ((x, left), (y, top)))  # far away inf - inf
    left, top = jnp.clip(left, -1, width - 1), jnp.clip(top, -1, height - 1)
    return Place(top.astype(jnp.int32), left.astype(jnp.int32), x, y, is_inside)


def corners(place: Place) -> list[tuple[int, int, Float[Array, "tile points"]]]:
    """(row, column, bilinear weight) of the four cells of a patch."""
    rows, columns = (1 - place.y, place.y), (1 - place.x, place.x)
    return [(row, column, rows[row] * columns[column]) for row in (0, 1) for column in (0, 1)]


def cell(place: Place, row: int, column: int, shapes: Shapes, level: int):
    """Token of a cell of each patch, or the nearest one to a cell off the map; and which are on the map."""
    height, width = shapes[level]
    start = sum(h * w for h, w in shapes[:level])
    y, x = place.top + row, place.left + column
    inner_y, inner_x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    is_there = place.is_inside & (y == inner_y) & (x == inner_x)
    return start + inner_y * width + inner_x, is_there


def take(values, picture, token, head, channels, is_there, is_channel) -> Float[Array, "tile points dim"]:
    """Channels of tokens; zeros where they are not there."""
    at = (picture, token[:, :, None], head, channels[None, None])
    return plgpu.load(values.at[at], mask=is_there[:, :, None] & is_channel[None, None], other=0)
