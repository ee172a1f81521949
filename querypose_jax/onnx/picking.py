"""Gathers, scatters and sorts. An array becomes a table, whose rows are what indices tell apart, and the numbers of an
index become the number of a row: ONNX's Gather and ScatterND on tables are fast everywhere."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.lax import GatherScatterMode

from querypose_jax.errors import UserError
from querypose_jax.onnx.elementwise import apply, arithmetic, as_type
from querypose_jax.onnx.graph import Converter, Graph, Value, constant
from querypose_jax.onnx.shaping import joined, reshaped, size, sliced, transposed, whole_numbers


class Layout(NamedTuple):
    """Which axes of an array [rank] a gather or scatter goes along."""

    batching: tuple[int, ...]
    """Run along with axes of the indices..."""
    batching_of_indices: tuple[int, ...]
    """...these."""
    indexed: tuple[int, ...]
    """The numbers of an index belong to these."""
    sizes: tuple[int, ...]
    """Of each axis of the array: how many places one index takes."""
    staying: tuple[int, ...]
    """Still there in what one index takes, in this order."""

    @property
    def row_axes(self) -> tuple[int, ...]:
        return (*self.batching, *self.indexed)

    @property
    def windows(self) -> list[int]:
        """Indexed and staying."""
        return [axis for axis in self.indexed if axis in self.staying]

    @property
    def rest(self) -> list[int]:
        """Lie within a row."""
        return [axis for axis in self.staying if axis not in self.indexed]

    def order(self, window_dims: Sequence[int], rank: int) -> list[int]:
        """What was gathered, or shall be scattered, has [axes of indices, windows, rest] where these are.

        Args:
            window_dims: of the gathered array: the axes in `staying`.
            rank: of the gathered array.
        """
        place = dict(zip(self.staying, window_dims, strict=True))
        of_indices = [axis for axis in range(rank) if axis not in window_dims]
        return [*of_indices, *[place[axis] for axis in (*self.windows, *self.rest)]]


class Rows(NamedTuple):
    """Which rows indices name."""

    numbers: Value
    """int32 [*axes of indices, *windows]"""
    is_inside: Value | None
    """bool [*axes of indices]; None: all are."""


def gather(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    (x, indices), params, out = operands, equation.params, equation.outvars[0].aval
    axes, sizes = params["dimension_numbers"], params["slice_sizes"]
    gone = (*axes.collapsed_slice_dims, *axes.operand_batching_dims)
    staying = tuple(axis for axis in range(len(sizes)) if axis not in gone)
    batching = axes.operand_batching_dims, axes.start_indices_batching_dims
    layout = Layout(*batching, tuple(axes.start_index_map), tuple(sizes), staying)
    is_row = [axis in layout.row_axes for axis in range(len(sizes))]
    ends = [length if row else taken for row, length, taken in zip(is_row, x.shape, sizes, strict=True)]
    x = sliced(graph, x, [0] * len(ends), ends, [1] * len(ends))
    rows = row_numbers(graph, x.shape, layout, indices, params["mode"])
    shape = (*rows.numbers.shape, *[x.shape[axis] for axis in layout.rest])
    taken = graph.node("Gather", [as_table(graph, x, layout), rows.numbers], shape, x.dtype, axis=0)
    order = layout.order(axes.offset_dims, len(out.shape))
    found = transposed(graph, taken, np.argsort(order).tolist())
    if rows.is_inside is None:
        return found
    wide = [1 if axis in axes.offset_dims else length for axis, length in enumerate(out.shape)]
    kept, filling = reshaped(graph, rows.is_inside, wide), constant(np.asarray(params["fill_value"], out.dtype))
    if out.dtype != bool:
        return apply(graph, "Where", [kept, found, filling], out.shape, out.dtype)
    if not filling.constant:
        return apply(graph, "And", [kept, found], out.shape, bool)
    return apply(graph, "Or", [apply(graph, "Not", [kept], kept.shape, bool), found], out.shape, bool)


def scatter(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """Writes; what lies outside goes to a row that is cut off again."""
    (x, indices, updates), axes = operands, equation.params["dimension_numbers"]
    gone = (*axes.inserted_window_dims, *axes.operand_batching_dims)
    staying = tuple(axis for axis in range(len(x.shape)) if axis not in gone)
    sizes = [1] * len(x.shape)
    for axis, of_updates in zip(staying, axes.update_window_dims, strict=True):
        sizes[axis] = updates.shape[of_updates]
    batching = axes.operand_batching_dims, axes.scatter_indices_batching_dims
    layout = Layout(*batching, tuple(axes.scatter_dims_to_operand_dims), tuple(sizes), staying)
    if any(sizes[axis] != x.shape[axis] for axis in layout.rest):
        raise UserError(f"export: ONNX: jax's operation 'scatter' has no converter for parts of rows ({axes})")
    rows = row_numbers(graph, x.shape, layout, indices, equation.params["mode"])
    count, width = (size([x.shape[axis] for axis in group]) for group in (layout.row_axes, layout.rest))
    table, numbers = reshaped(graph, as_table(graph, x, layout), (count, width)), rows.numbers
    if rows.is_inside is not None:
        kept = reshaped(graph, rows.is_inside, (*rows.is_inside.shape, *[1] * len(layout.windows)))
        numbers = apply(graph, "Where", [kept, numbers, constant(np.int32(count))], numbers.shape, np.int32)
        table = joined(graph, [table, constant(np.zeros((1, width), x.dtype))], 0)
    order = layout.order(axes.update_window_dims, len(updates.shape))
    written = reshaped(graph, transposed(graph, updates, order), (size(numbers.shape), width))
    places = reshaped(graph, as_type(graph, numbers, np.int64), (size(numbers.shape), 1))
    table = graph.node("ScatterND", [table, places, written], table.shape, x.dtype)
    table = sliced(graph, table, [0, 0], [count, width], [1, 1])
    columns = [*layout.row_axes, *layout.rest]
    whole = reshaped(graph, table, [x.shape[axis] for axis in columns])
    return transposed(graph, whole, np.argsort(columns).tolist())


def as_table(graph: Graph, x: Value, layout: Layout) -> Value:
    """[rows, *rest]"""
    ordered = transposed(graph, x, [*layout.row_axes, *layout.rest])
    count = size([x.shape[axis] for axis in layout.row_axes])
    return reshaped(graph, ordered, (count, *[x.shape[axis] for axis in layout.rest]))


def row_numbers(graph: Graph, shape: Sequence[int], layout: Layout, indices: Value, mode: Any) -> Rows:
    """The rows of an array of this shape that indices [..., number] name.

    Outside of the array: an index is moved inside (mode CLIP and where it is filled in), which it is where that is
    promised; told apart where what is outside shall be filled in or dropped.
    """
    limits = np.array([shape[axis] - layout.sizes[axis] for axis in layout.indexed], np.int32)
    indices = indices if indices.dtype == np.int32 else as_type(graph, indices, np.int32)
    is_inside = None
    mode = GatherScatterMode.from_any(mode)
    if mode != GatherScatterMode.PROMISE_IN_BOUNDS and not (
        indices.is_constant and ((indices.full >= 0) & (indices.full <= limits)).all()
    ):
        moved, highest = constant(np.int32(0)), constant(limits)
        clipped = apply(graph, "Max", [indices, moved], indices.shape, np.int32)
        clipped = apply(graph, "Min", [clipped, highest], indices.shape, np.int32)
        if mode == GatherScatterMode.FILL_OR_DROP:
            equal = apply(graph, "Equal", [clipped, indices], indices.shape, bool)
            same = graph.node("ReduceMin", [as_type(graph, equal, np.int32), whole_numbers(graph, [-1])],
                              indices.shape[:-1], np.int32, keepdims=0)  # fmt: skip
            is_inside = as_type(graph, same, bool)
        indices = clipped
    return Rows(_joined_numbers(graph, shape, layout, indices), is_inside)


def _joined_numbers(graph: Graph, shape: Sequence[int], layout: Layout, indices: Value) -> Value:
    """The number of the row for each index and place of its window."""
    outer = indices.shape[:-1]
    rank = len(outer) + len(layout.windows)
    whole = (*outer, *[layout.sizes[axis] for axis in layout.windows])

    def counted(length: int, along: int) -> Value:
        return constant(np.arange(length, dtype=np.int32).reshape([-1 if i == along else 1 for i in range(rank)]))

    stride = {a: size([shape[b] for b in layout.row_axes[i + 1 :]]) for i, a in enumerate(layout.row_axes)}
    parts = [(axis, counted(outer[along], along)) for axis, along in zip(*layout[:2], strict=True)]
    parts += [(axis, counted(layout.sizes[axis], len(outer) + i)) for i, axis in enumerate(layout.windows)]
    for i, axis in enumerate(layout.indexed):
        starts, ends = [0] * len(outer) + [i], [*outer, i + 1]
        number = sliced(graph, indices, starts, ends, [1] * len(starts))
        parts.append((axis, reshaped(graph, number, (*outer, *[1] * len(layout.windows)))))
    total = constant(np.int32(0))
    for axis, part in parts:
        total = arithmetic(graph, "Add", total, arithmetic(graph, "Mul", part, constant(np.int32(stride[axis]))))
    return Value(whole, total.dtype, total.constant, total.name, total.narrow)


def sort(graph: Graph, equation: Any, operands: list[Value]) -> list[Value]:
    """Equal keys stay in order: ONNX's TopK says that of equal numbers the first comes first."""
    if equation.params["num_keys"] != 1:
        raise UserError("export: ONNX: jax's operation 'sort' has no converter for several keys")
    axis, key = int(equation.params["dimension"]), operands[0]
    numbers = as_type(graph, key, np.int32) if key.dtype == bool else key
    values, places = best(graph, numbers, key.shape[axis], axis, largest=0)
    others = [graph.node("GatherElements", [x, places], x.shape, x.dtype, axis=axis) for x in operands[1:]]
    return [as_type(graph, values, bool) if key.dtype == bool else values, *others]


def top_k(graph: Graph, equation: Any, operands: list[Value]) -> list[Value]:
    (x,), axis = operands, int(equation.params.get("axis", len(operands[0].shape) - 1))
    values, places = best(graph, x, equation.params["k"], axis, largest=1)
    return [values, as_type(graph, places, equation.outvars[1].aval.dtype)]


def best(graph: Graph, x: Value, count: int, axis: int, largest: int) -> list[Value]:
    """The `count` largest or smallest numbers along an axis, and their places (int64)."""
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    given = [x, whole_numbers(graph, [count])]
    return graph.nodes_out("TopK", given, [(shape, x.dtype), (shape, np.int64)], axis=axis, largest=largest)


CONVERTERS: dict[str, Converter] = {"gather": gather, "scatter": scatter, "sort": sort, "top_k": top_k}
