"""How `kernels.deformable_attention.tpu` lays things out: maps in blocks of cells, queries in tiles of neighbours.

A tile and a block meet in the kernel only where the block lies in the tile's window, the smallest rectangle of blocks
that holds all cells its samples read.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kernels.deformable_attention.gather import Shapes

NOWHERE = -9.0  # position of samples that do not exist: no cell is near
KEY_BITS = 5  # queries that are no tokens are sorted by a grid of 2^5 x 2^5 places


class Layout(NamedTuple):
    """The static part of a call. What a chip wants: columns a multiple of 8 (16 in bfloat16), and as many cells in a
    block and queries in a tile as a vector has lanes."""

    shapes: Shapes
    rows: int = 8
    """Of a block."""
    columns: int = 16
    tile: int = 128
    """Queries whose sums are computed at once."""
    tiles: int = 8
    """Of a program."""
    interpret: bool = False
    """Run as plain JAX, on any platform and slowly: for tests."""

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Rows and columns of blocks of each level."""
        return [(-(-height // self.rows), -(-width // self.columns)) for height, width in self.shapes]

    @property
    def cells(self) -> int:
        """Of a block."""
        return self.rows * self.columns

    @property
    def blocks(self) -> int:
        """Of all levels."""
        return sum(rows * columns for rows, columns in self.grids)

    @property
    def tokens(self) -> int:
        return sum(height * width for height, width in self.shapes)


def to_blocks(
    x: Float[Array, "B tokens *rest"], layout: Layout, fill: float | int = 0
) -> Float[Array, "B blocks cells *rest"]:
    """Cells of each map block by block, row by row in a block; `fill` beyond the border."""
    ends = np.cumsum([height * width for height, width in layout.shapes])
    blocks = []
    for level, (height, width), (down, across) in zip(
        jnp.split(x, ends[:-1], 1), layout.shapes, layout.grids, strict=True
    ):
        cells = level.reshape(len(x), height, width, *x.shape[2:])
        spare = (0, down * layout.rows - height), (0, across * layout.columns - width)
        cells = jnp.pad(cells, ((0, 0), *spare, *[(0, 0)] * (x.ndim - 2)), constant_values=fill)
        cells = cells.reshape(len(x), down, layout.rows, across, layout.columns, *x.shape[2:])
        blocks.append(jnp.moveaxis(cells, 3, 2).reshape(len(x), down * across, layout.cells, *x.shape[2:]))
    return jnp.concatenate(blocks, 1)


def from_blocks(x: Float[Array, "B blocks cells *rest"], layout: Layout) -> Float[Array, "B tokens *rest"]:
    """Undoes `to_blocks`."""
    ends = np.cumsum([down * across for down, across in layout.grids])
    levels = []
    for level, (height, width), (down, across) in zip(
        jnp.split(x, ends[:-1], 1), layout.shapes, layout.grids, strict=True
    ):
        cells = level.reshape(len(x), down, across, layout.rows, layout.columns, *x.shape[3:])
        cells = jnp.moveaxis(cells, 3, 2).reshape(len(x), down * layout.rows, across * layout.columns, *x.shape[3:])
        levels.append(cells[:, :height, :width].reshape(len(x), height * width, *x.shape[3:]))
    return jnp.concatenate(levels, 1)


def query_order(locations: Float[Array, "B Q heads levels points 2"], layout: Layout) -> Int[Array, "B Q"] | None:
    """Queries such that neighbours come together: by the middle of their samples, along a Z-shaped curve.

    None where queries are as many as tokens: an encoder's, which lie as the tokens do.
    """
    if locations.shape[1] == layout.tokens:
        return None
    middle = jnp.clip(locations, 0, 1).mean((2, 3, 4))
    place = jnp.minimum(middle * 2**KEY_BITS, 2**KEY_BITS - 1).astype(jnp.int32)
    bits = jnp.arange(KEY_BITS, dtype=jnp.int32)
    spread = ((place[..., None] >> bits & 1) << 2 * bits).sum(-1)
    return jnp.argsort(spread[..., 0] + 2 * spread[..., 1])


def to_tiles(
    x: Float[Array, "B Q *rest"], order: Int[Array, "B Q"] | None, layout: Layout, fill: float | int = 0
) -> Float[Array, "B tiles tile *rest"]:
    """Queries in tiles, as many as fill whole programs."""
    if order is None and layout.tile == layout.cells:
        tiles = to_blocks(x, layout, fill)
    else:
        x = x if order is None else take_queries(x, order)
        spare = -x.shape[1] % layout.tile
        x = jnp.pad(x, ((0, 0), (0, spare), *[(0, 0)] * (x.ndim - 2)), constant_values=fill)
        tiles = x.reshape(len(x), -1, layout.tile, *x.shape[2:])
    spare = -tiles.shape[1] % layout.tiles
    return jnp.pad(tiles, ((0, 0), (0, spare), *[(0, 0)] * (tiles.ndim - 2)), constant_values=fill)


def from_tiles(
    x: Float[Array, "B tiles tile *rest"], order: Int[Array, "B Q"] | None, queries: int, layout: Layout
) -> Float[Array, "B Q *rest"]:
    """Undoes `to_tiles`."""
    if order is None and layout.tile == layout.cells:
        return from_blocks(x[:, : layout.blocks], layout)
    x = x.reshape(len(x), -1, *x.shape[3:])[:, :queries]
    return x if order is None else take_queries(x, jnp.argsort(order))


def take_queries(x: Float[Array, "B Q *rest"], order: Int[Array, "B Q"]) -> Float[Array, "B Q *rest"]:
    """The queries of each picture in another order."""
    return jax.vmap(lambda x, order: x.at[order].get(mode="promise_in_bounds", unique_indices=True))(x, order)


def windows(
    positions: Float[Array, "B tiles tile heads levels points 2"], layout: Layout
) -> Int[Array, "B tiles heads levels 4"]:
    """First and one past the last row of blocks, and the same of columns, that samples at positions (x, y) in cells
    of their level read; nothing where all of them are off the map."""
    size = jnp.array([(width, height) for height, width in layout.shapes], positions.dtype)[:, None]
    block = jnp.array([layout.columns, layout.rows], jnp.int32)
    first = jnp.floor(positions)
    is_inside = (first >= -1) & (first < size)
    start = jnp.clip(first, 0, size - 1).astype(jnp.int32) // block
    last = jnp.clip(first + 1, 0, size - 1).astype(jnp.int32) // block
    far = jnp.int32(np.iinfo(np.int32).max)
    start = jnp.where(is_inside, start, far).min(2).min(-2)  # over the tile, then over points
    stop = jnp.where(is_inside, last + 1, 0).max(2).max(-2)
    (left, top), (right, bottom) = (jnp.moveaxis(x, -1, 0) for x in (jnp.minimum(start, stop), stop))
    return jnp.stack([top, bottom, left, right], -1)
