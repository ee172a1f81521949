"""RoIAlign as a CUDA kernel, forward and backward: Pallas with its Triton lowering.

Forward, one program pools one row of cells of one box: channels are contiguous, so that every load is coalesced and
wide, and the 16 loads are independent of each other. Which positions it reads, and with which weights, is worked out
before in plain jax.numpy (`row_taps`); levels are separate arrays, so that nothing is copied. Backward, one program
adds the gradient of one cell to float32 maps, with atomics; taps on the same position are merged before, in small boxes
16 to 4. Their order changes from run to run: where `kernels.determinism` is on, they add up `kernels.exact_sums`.

docs/benchmarks.md has its times, says why this route was taken and where it goes when Pallas loses its Triton lowering;
this file is all that will change.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float, Int

from kernels.determinism import wants_determinism
from kernels.exact_sums import PARTS, cut, grids, joined
from kernels.relaxed_additions import relax_additions
from kernels.roi_align.sampling import TAPS, BoxSamples, axis_taps, box_samples, merge_taps

relax_additions()

MOST_CHANNELS = 256  # of a program; 16 cells x 256 channels are 32 float32 sums in each thread of 4 warps


class RowTaps(NamedTuple):
    """What the kernel reads for each box: positions in the level's maps laid end to end, and their weights.

    A cell is the sum over its taps of row_weight * column_weight * map[row + column]. Columns are padded to a power of
    two with weight zero, as Triton asks.
    """

    level: Int[Array, " Q"]
    row: Int[Array, "Q cells taps"]
    """Position of the first column of the row."""
    row_weight: Float[Array, "Q cells taps"]
    column: Int[Array, "Q taps padded"]
    column_weight: Float[Array, "Q taps padded"]


class Layout(NamedTuple):
    """The static part of a call."""

    shapes: tuple[tuple[int, ...], ...]
    """P, height, width, channels of each level."""
    dtype: jnp.dtype
    cells: int
    warps: int
    interpret: bool

    @property
    def params(self) -> plgpu.CompilerParams:
        return plgpu.CompilerParams(num_warps=self.warps, num_stages=1)


def row_taps(samples: BoxSamples, picture: Int[Array, " Q"], sizes: Sequence[tuple[int, int]]) -> RowTaps:
    """The tables of the kernel, from what is sampled."""
    rows, columns = (merge_taps(axis_taps(axis)) for axis in (samples.y, samples.x))
    height, width = (jnp.array(side)[samples.level][:, None, None] for side in zip(*sizes, strict=True))
    cells = rows.position.shape[1]
    missing = ((0, 0), (0, 0), (0, pl.next_power_of_2(cells) - cells))
    row = (picture[:, None, None] * height + rows.position) * width
    return RowTaps(
        samples.level,
        row.astype(jnp.int32),  # wider where x64 is on
        rows.weight,
        jnp.pad(columns.position.swapaxes(1, 2), missing).astype(jnp.int32),
        jnp.pad(columns.weight.swapaxes(1, 2), missing),
    )


def roi_align_triton(
    pyramid: Sequence[Float[Array, "P _ _ C"]],
    boxes: Float[Array, "Q 4"],
    picture: Int[Array, " Q"],
    strides: Sequence[int],
    cells: int,
    interpret: bool = False,
    warps: int = 4,
) -> Float[Array, "Q cells cells C"]:
    """See `kernels.roi_align.roi_align`. Positions are 32-bit: all pictures of a level hold less than 2^31 numbers.

    Args:
        interpret: run the kernel as plain JAX, on any platform and slowly: for tests.
        warps: of each program.
    """
    sizes = [level.shape[1:3] for level in pyramid]
    samples = box_samples(jax.lax.stop_gradient(boxes), sizes, strides, cells)
    layout = Layout(tuple(level.shape for level in pyramid), pyramid[0].dtype, cells, warps, interpret)
    maps = tuple(level.reshape(-1, level.shape[-1]) for level in pyramid)
    return pool(maps, row_taps(samples, picture, sizes), layout)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def pool(maps: tuple[Float[Array, "_ C"], ...], taps: RowTaps, layout: Layout) -> Float[Array, "Q cells cells C"]:
    """Pools every box; positions of all pictures of a level are rows of its map."""
    channels, boxes = maps[0].shape[-1], len(taps.level)
    block = channel_block(channels)
    return pl.pallas_call(
        partial(pool_kernel, block=block),
        out_shape=jax.ShapeDtypeStruct((boxes, layout.cells, layout.cells, channels), layout.dtype),
        grid=(channels // block, layout.cells, boxes),
        compiler_params=layout.params,
        interpret=layout.interpret,
        name="roi_align",
    )(*taps, *maps)


def pool_forward(maps, taps: RowTaps, layout: Layout) -> tuple[Array, RowTaps]:
    """Pooling is linear in the maps, so that its backward pass needs the tables alone."""
    return pool(maps, taps, layout), taps


def pool_backward(layout: Layout, taps: RowTaps, cotangent: Float[Array, "Q cells cells C"]) -> tuple:
    """Gradients of the maps, added up in at least float32; the tables have none."""
    channels = cotangent.shape[-1]
    block = channel_block(channels)
    dtype = jnp.promote_types(layout.dtype, jnp.float32)
    steps = map_grids(cotangent, dtype) if wants_determinism() else None
    zeros = [jnp.zeros((pictures * height * width, channels), dtype) for pictures, height, width, _ in layout.shapes]
    zeros = [level for level in zeros for _ in range(PARTS if steps is not None else 1)]
    grid_operands = [steps] if steps is not None else []
    first = len(taps) + 1 + len(grid_operands)  # of the zeros
    parts = pl.pallas_call(
        partial(scatter_kernel, block=block, levels=len(layout.shapes), has_grids=steps is not None),
        out_shape=[jax.ShapeDtypeStruct(zero.shape, dtype) for zero in zeros],
        grid=(channels // block, layout.cells**2, len(taps.level)),
        input_output_aliases={first + part: part for part in range(len(zeros))},
        compiler_params=layout.params,
        interpret=layout.interpret,
        name="roi_align_backward",
    )(*taps, cotangent, *grid_operands, *zeros)
    count = len(parts) // len(layout.shapes)
    gradients = [joined(parts[start : start + count]) for start in range(0, len(parts), count)]
    return tuple(gradient.astype(layout.dtype) for gradient in gradients), None


def map_grids(cotangent: Float[Array, "Q cells cells C"], dtype: jnp.dtype) -> Float[Array, " parts"]:
    """Grids for the gradients of maps: a cell's weights add up to 1 at most, and it adds to a position once."""
    count = math.prod(cotangent.shape[:3])
    return grids(jnp.abs(cotangent).max().astype(dtype) * count, count)


def channel_block(channels: int) -> int:
    """Channels of a program: Triton asks for a power of two; one that divides all channels needs no mask."""
    return min(channels & -channels, MOST_CHANNELS)


pool.defvjp(pool_forward, pool_backward)


def pool_kernel(level_ref, row_ref, row_weight_ref, column_ref, column_weight_ref, *refs, block: int) -> None:
    """One row of cells of one box; refs are the maps of the levels and the output."""
    *maps, pooled = refs
    box, cell = pl.program_id(2), pl.program_id(1)
    columns = jnp.arange(column_ref.shape[-1])[:, None]
    channels = (pl.program_id(0) * block + jnp.arange(block))[None]
    is_cell = jnp.broadcast_to(columns < pooled.shape[2], (columns.size, block))
    for level, positions in enumerate(maps):

        @pl.when(level_ref[box] == level)
        def _(positions=positions):
            dtype = jnp.promote_types(positions.dtype, jnp.float32)
            total = jnp.zeros(is_cell.shape, dtype)
            for column_tap in range(TAPS):
                column, column_weight = column_ref[box, column_tap, :], column_weight_ref[box, column_tap, :]
                for row_tap in range(TAPS):
                    value = positions[(row_ref[box, cell, row_tap] + column)[:, None], channels]
                    weight = (row_weight_ref[box, cell, row_tap] * column_weight).astype(dtype)
                    total += value.astype(dtype) * weight[:, None]
            plgpu.store(pooled.at[box, cell, columns, channels], total.astype(pooled.dtype), mask=is_cell)


def scatter_kernel(
    level_ref, row_ref, row_weight_ref, column_ref, column_weight_ref, cotangent, *refs,
    block: int, levels: int, has_grids: bool,
) -> None:  # fmt: skip
    """One cell of one box, the transpose of `pool_kernel`; refs are the grids, zeros, and what becomes of them: the
    parts of the gradients, level after level."""
    grid_refs, others = refs[:has_grids], refs[has_grids:]
    gradients = others[len(others) // 2 :]
    count = len(gradients) // levels
    steps = [grid_refs[0][number] for number in range(count)] if has_grids else []
    cells = cotangent.shape[2]
    box, cell, column = pl.program_id(2), pl.program_id(1) // cells, pl.program_id(1) % cells
    channels = pl.ds(pl.program_id(0) * block, block)
    for level in range(levels):

        @pl.when(level_ref[box] == level)
        def _(parts=gradients[level * count : (level + 1) * count]):
            value = cotangent[box, cell, column, channels].astype(parts[0].dtype)
            for row_tap in range(TAPS):
                for column_tap in range(TAPS):
                    position = row_ref[box, cell, row_tap] + column_ref[box, column_tap, column]
                    weight = row_weight_ref[box, cell, row_tap] * column_weight_ref[box, column_tap, column]

                    @pl.when(weight != 0)
                    def _(position=position, weight=weight):
                        rest = value * weight.astype(value.dtype)
                        for number, part in enumerate(parts):
                            now, rest = cut(rest, steps[number]) if has_grids else (rest, None)
                            jax.ref.addupdate(part, (position, channels), now)
