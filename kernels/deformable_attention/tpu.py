"""Deformable attention as a TPU kernel, forward and backward: Pallas with its Mosaic lowering.

Gathers are slow on TPUs, products are not. The values of one head, all its maps, lie on the chip in blocks of cells; a
program takes a tile of neighbouring queries of that head and goes through the blocks that their samples may read
(`blocks.windows`). In a block the weight of cell (r, c) for a query is the sum over its points of

    attention * tent(y - r) * tent(x - c),    tent(d) = max(0, 1 - |d|),

exact for any place; one product of a block's values with these weights adds all its samples to the sums of a tile. So
no sample is gathered, no weight leaves the chip, and blocks that no sample of a tile reads cost nothing.

The backward pass makes the same weights again. Gradients of the values are their products with the gradients of the
sums, added up on the chip by programs that run one after the other: nothing is scattered, and the same bits come out in
every run. Gradients of places and attention are products of gradients with values, contracted with the tents and their
slopes. Places, weights and sums are at least float32: bfloat16 values meet weights in three parts of 8 bits each.
"""

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from kernels.deformable_attention.blocks import (
    NOWHERE,
    Layout,
    from_blocks,
    from_tiles,
    query_order,
    to_blocks,
    to_tiles,
    windows,
)
from kernels.deformable_attention.gather import Shapes

SUBLANES = 8  # rows of a vector register
ROOM = 2**24  # bytes on the chip beside values and their gradients
CHIP = 2**26  # bytes of vector memory that v5p and TPU7 have; v5e and v6e have twice as many


class Sample(NamedTuple):
    """One point of each query of a tile, on one level."""

    x: Float[Array, "1 tile"]
    """In cells, as y: centres of cells are whole numbers."""
    y: Float[Array, "1 tile"]
    weight: Float[Array, "1 tile"]


class Operands(NamedTuple):
    """Of the kernels: everything with cells or queries last, a lane for each."""

    reach: Int[Array, "B programs heads 1 _"]
    """Windows of a program's tiles: tile, level, side."""
    blocks: Float[Array, "B blocks heads dim cells"]
    """Values."""
    places: Float[Array, "B tiles heads _ tile"]
    """Rows: level, point, x and y in cells."""
    shares: Float[Array, "B tiles heads _ tile"]
    """Attention weights; rows: level, point."""


def deformable_attention_tpu(
    values: Float[Array, "B tokens heads dim"],
    locations: Float[Array, "B Q heads levels points 2"],
    weights: Float[Array, "B Q heads levels points"],
    shapes: Shapes,
    layout: Layout | None = None,
) -> Float[Array, "B Q heads*dim"]:
    """See `kernels.deformable_attention.deformable_attention`; `layout` for tests, in place of what suits the chip."""
    dtype = jnp.promote_types(values.dtype, jnp.float32)
    out = attend(values, locations.astype(dtype), weights.astype(dtype), layout or Layout(tuple(shapes)))
    return out.reshape(*out.shape[:2], -1)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(
    values: Float[Array, "B tokens heads dim"],
    locations: Float[Array, "B Q heads levels points 2"],
    weights: Float[Array, "B Q heads levels points"],
    layout: Layout,
) -> Float[Array, "B Q heads dim"]:
    """Weighted sums of samples, in the type of the values."""
    order = query_order(locations, layout)
    operands = make_operands(values, locations, weights, order, layout)
    shape = (*operands.shares.shape[:3], values.shape[-1], layout.tile)
    kernel = partial(attend_kernel, layout=layout, points=weights.shape[-1])
    (out,) = call(kernel, "deformable_attention", layout, operands, [], [jax.ShapeDtypeStruct(shape, values.dtype)], [])
    return queries_first(out, order, (*weights.shape[:3], -1), layout)


def attend_forward(values, locations, weights, layout: Layout):
    """Nothing but the operands is kept."""
    return attend(values, locations, weights, layout), (values, locations, weights)


def attend_backward(layout: Layout, saved, cotangent: Float[Array, "B Q heads dim"]):
    """Gradients of values, locations and weights, in their types."""
    values, locations, weights = saved
    order = query_order(locations, layout)
    operands = make_operands(values, locations, weights, order, layout)
    douts = queries_last(cotangent.astype(values.dtype), order, layout)
    kernel = partial(pull_back_kernel, layout=layout, points=weights.shape[-1])
    in_tiles, in_blocks = (
        [jax.ShapeDtypeStruct(x.shape, weights.dtype) for x in group]
        for group in ((operands.places, operands.shares), (operands.blocks,))
    )
    dplaces, dshares, dblocks = call(
        kernel, "deformable_attention_backward", layout, operands, [douts], in_tiles, in_blocks
    )
    dvalues = from_blocks(cells_first(dblocks.astype(values.dtype)), layout).reshape(values.shape)
    dlocations = queries_first(dplaces, order, locations.shape, layout) * cells_of(layout, weights.dtype)
    return dvalues, dlocations, queries_first(dshares, order, weights.shape, layout)


attend.defvjp(attend_forward, attend_backward)


def make_operands(
    values: Float[Array, "B tokens heads dim"],
    locations: Float[Array, "B Q heads levels points 2"],
    weights: Float[Array, "B Q heads levels points"],
    order: Int[Array, "B Q"] | None,
    layout: Layout,
) -> Operands:
    """Lays out what a call is about; `order` of the queries, see `blocks.query_order`."""
    pictures, tokens, heads, _ = values.shape
    positions = (locations * cells_of(layout, locations.dtype) - 0.5).reshape(pictures, weights.shape[1], -1)
    tiles = to_tiles(positions, order, layout, NOWHERE)
    reach = windows(tiles.reshape(*tiles.shape[:3], *locations.shape[2:]), layout)
    reach = reach.reshape(pictures, -1, layout.tiles, heads, 4 * len(layout.shapes)).swapaxes(2, 3)
    return Operands(
        reach.reshape(*reach.shape[:3], 1, -1),
        split_heads(to_blocks(values.reshape(pictures, tokens, -1), layout), heads),
        split_heads(tiles, heads),
        queries_last(weights, order, layout),
    )


def cells_of(layout: Layout, dtype: jnp.dtype) -> Float[Array, "levels 1 2"]:
    """Width, height of each level."""
    return jnp.array([(width, height) for height, width in layout.shapes], dtype)[:, None]


def split_heads(x: Float[Array, "B groups lanes rows"], heads: int) -> Float[Array, "B groups heads _ lanes"]:
    """Cells or queries last: the transposition that lays them along the lanes."""
    return x.swapaxes(2, 3).reshape(*x.shape[:2], heads, -1, x.shape[2])


def cells_first(x: Float[Array, "B groups heads _ lanes"]) -> Float[Array, "B groups lanes rows"]:
    """Undoes `split_heads`."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1]).swapaxes(2, 3)


def queries_last(x: Float[Array, "B Q heads *rest"], order, layout: Layout) -> Float[Array, "B tiles heads _ tile"]:
    """What each query has, in tiles."""
    return split_heads(to_tiles(x.reshape(*x.shape[:2], -1), order, layout), x.shape[2])


def queries_first(x: Float[Array, "B tiles heads _ tile"], order, shape: tuple[int, ...], layout: Layout) -> Array:
    """Undoes `queries_last`."""
    return from_tiles(cells_first(x), order, shape[1], layout).reshape(shape)


def call(
    kernel, name: str, layout: Layout, operands: Operands, douts: list[Array], results: list, dblocks: list
) -> Sequence[Array]:
    """Runs a kernel for all pictures, heads and groups of tiles, in this order.

    Args:
        douts: operands in tiles, beside `operands`.
        results: shapes of results in tiles.
        dblocks: shapes of results in blocks, which follow those in tiles.
    """
    reach, blocks, *tiles = operands
    pictures, programs, heads = reach.shape[:3]

    def head(x) -> pl.BlockSpec:  # stays on the chip while the head stays
        return pl.BlockSpec((None, x.shape[1], None, *x.shape[3:]), lambda b, m, i: (b, 0, m, 0, 0))

    def group(x) -> pl.BlockSpec:
        return pl.BlockSpec((None, layout.tiles, None, *x.shape[3:]), lambda b, m, i: (b, i, m, 0, 0))

    table = pl.BlockSpec((None, None, None, *reach.shape[3:]), lambda b, m, i: (b, i, m, 0, 0), memory_space=pltpu.SMEM)
    tiles = [*tiles, *douts]
    return pl.pallas_call(
        kernel,
        out_shape=[*results, *dblocks],
        grid=(pictures, heads, programs),
        in_specs=[table, head(blocks), *map(group, tiles)],
        out_specs=[*map(group, results), *map(head, dblocks)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"),
            vmem_limit_bytes=resident_bytes(layout, blocks.shape[3], blocks.dtype) + ROOM,
        ),
        interpret=layout.interpret,
        name=name,
    )(reach, blocks, *tiles)


def resident_bytes(layout: Layout, dim: int, dtype: jnp.dtype) -> int:
    """What the chip holds of values and their gradients, the next head's too."""
    wide = jnp.promote_types(dtype, jnp.float32)
    return 2 * layout.blocks * dim * layout.cells * (dtype.itemsize + wide.itemsize)


def fits(dim: int, dtype: jnp.dtype, shapes: Shapes) -> bool:
    """Whether one head's values and their gradients have room on a chip."""
    return resident_bytes(Layout(tuple(shapes)), dim, dtype) + ROOM <= CHIP


def attend_kernel(reach, blocks, places, shares, out, *, layout: Layout, points: int) -> None:
    """Sums of some tiles of one head."""

    def tile_sums(tile, _):
        total = jnp.zeros(out.shape[1:], shares.dtype)
        for level in range(len(layout.shapes)):
            samples = samples_of(places, shares, tile, level, points)

            def add_block(block, cells, total, samples=samples):
                return total + product(blocks[block], block_weights(samples, *cells), 1, 0)

            total = over_window(add_block, total, reach, tile, level, layout)
        out[tile] = total.astype(out.dtype)
        return _

    jax.lax.fori_loop(0, layout.tiles, tile_sums, 0)


def pull_back_kernel(
    reach, blocks, places, shares, douts, dplaces, dshares, dblocks, *, layout: Layout, points: int
) -> None:
    """Gradients that come through some tiles of one head; those of its values grow from program to program."""

    @pl.when(pl.program_id(2) == 0)
    def _():
        dblocks[...] = jnp.zeros_like(dblocks)

    def tile_gradients(tile, _):
        dout = douts[tile]
        for level in range(len(layout.shapes)):
            samples = samples_of(places, shares, tile, level, points)

            def add_block(block, cells, total, samples=samples):
                dblocks[block] += product(dout, block_weights(samples, *cells), 1, 1)
                products = product(blocks[block], dout, 0, 0).reshape(layout.rows, layout.columns, layout.tile)
                return jax.tree.map(jnp.add, total, block_slopes(samples, *cells, products))

            zeros = jnp.zeros((min(SUBLANES, layout.columns), layout.tile), shares.dtype)
            sums = over_window(add_block, [(zeros,) * 3] * points, reach, tile, level, layout)
            for point, (across, down, weight) in enumerate(sums):
                row, share = level * points + point, samples[point].weight
                dplaces[tile, pl.ds(2 * row, 1)] = share * across.sum(0, keepdims=True)
                dplaces[tile, pl.ds(2 * row + 1, 1)] = share * down.sum(0, keepdims=True)
                dshares[tile, pl.ds(row, 1)] = weight.sum(0, keepdims=True)
        return _

    jax.lax.fori_loop(0, layout.tiles, tile_gradients, 0)


def samples_of(places, shares, tile, level: int, points: int) -> list[Sample]:
    """A level's points in a tile."""
    rows = range(level * points, (level + 1) * points)
    return [
        Sample(*(places[tile, pl.ds(2 * row + axis, 1)] for axis in (0, 1)), shares[tile, pl.ds(row, 1)])
        for row in rows
    ]


def over_window(add_block, total, reach, tile, level: int, layout: Layout):
    """Goes through the blocks of a tile's window on a level.

    Args:
        add_block: of the block's number, the rows [rows, tile] and columns [columns, tile] of its cells, and the
            result so far; returns the result with this block.
        total: the first result.
    """
    first = sum(rows * columns for rows, columns in layout.grids[:level])
    across = layout.grids[level][1]
    top, bottom, left, right = (reach[0, (tile * len(layout.shapes) + level) * 4 + side] for side in range(4))
    rows, columns = (numbers(count, layout.tile) for count in (layout.rows, layout.columns))

    def block_row(i, total):
        def one_block(j, total):
            cells = ((rows + i * layout.rows), (columns + j * layout.columns))
            return add_block(first + i * across + j, cells, total)

        return jax.lax.fori_loop(left, right, one_block, total)

    return jax.lax.fori_loop(top, bottom, block_row, total)


def numbers(count: int, tile: int) -> Int[Array, "{count} {tile}"]:
    """0, 1, ... down the rows."""
    return jax.lax.broadcasted_iota(jnp.int32, (count, tile), 0)


def tents(place: Float[Array, "1 tile"], cells: Int[Array, "cells tile"]) -> Float[Array, "cells tile"]:
    """Weights of a linear interpolation between cells."""
    return jnp.maximum(1 - jnp.abs(place - cells.astype(place.dtype)), 0)


def slopes(place: Float[Array, "1 tile"], cells: Int[Array, "cells tile"]) -> Float[Array, "cells tile"]:
    """Derivatives of the tents by the place; on a cell's centre those towards the next cell."""
    distance = place - cells.astype(place.dtype)
    is_here, is_next = (distance >= 0) & (distance < 1), (distance >= -1) & (distance < 0)
    return is_next.astype(place.dtype) - is_here.astype(place.dtype)


def block_weights(samples: list[Sample], rows, columns) -> Float[Array, "cells tile"]:
    """Weight of each cell of a block for each query of a tile."""
    x, y, weight = samples[0]
    total = (weight * tents(y, rows))[:, None] * tents(x, columns)[None]
    for x, y, weight in samples[1:]:
        total += (weight * tents(y, rows))[:, None] * tents(x, columns)[None]
    return total.reshape(-1, total.shape[-1])


def block_slopes(samples: list[Sample], rows, columns, products: Float[Array, "rows columns tile"]):
    """Derivatives by x and y of each point, but for its weight, and by its weight: sums over a block, still spread
    over the sublanes of a register."""

    def fold(x: Float[Array, "columns tile"]):
        return x.reshape(-1, min(SUBLANES, len(x)), x.shape[-1]).sum(0)

    sums = []
    for x, y, _ in samples:
        level, steep = ((factor(y, rows)[:, None] * products).sum(0) for factor in (tents, slopes))
        tent = tents(x, columns)
        sums.append((fold(slopes(x, columns) * level), fold(tent * steep), fold(tent * level)))
    return sums


def product(narrow: Float[Array, "_ _"], wide: Float[Array, "_ _"], axis: int, other: int) -> Float[Array, "_ _"]:
    """Sums over an axis of each, in at least float32; as exact as if both were the wider type."""
    multiply = partial(
        jax.lax.dot_general,
        dimension_numbers=(((axis,), (other,)), ((), ())),
        preferred_element_type=jnp.promote_types(wide.dtype, jnp.float32),
    )
    if narrow.dtype == jnp.bfloat16:
        return reduce(jnp.add, (multiply(narrow, part) for part in bfloat16_parts(wide)))
    return multiply(narrow, wide, precision="highest")


def bfloat16_parts(x: Float[Array, "*S"]) -> list[Float[Array, "*S"]]:
    """bfloat16 numbers that add up to x exactly."""
    if x.dtype == jnp.bfloat16:
        return [x]
    parts = []
    for _ in range(3):
        bits = jax.lax.bitcast_convert_type(x, jnp.int32) & jnp.int32(-65536)  # sign, exponent and 7 bits
        part = jax.lax.bitcast_convert_type(bits, jnp.float32)
        parts.append(part.astype(jnp.bfloat16))
        x = x - part
    return parts
