"""Operations that move numbers about, and sums and maxima along axes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from querypose_jax.errors import UserError
from querypose_jax.onnx.elementwise import as_type
from querypose_jax.onnx.graph import Converter, Graph, Value, constant
from querypose_jax.onnx.shaping import joined, reshaped, sliced, transposed, whole_numbers

STAYS_NARROW = ("broadcast_in_dim", "iota")  # constants that are not written out
REDUCTIONS = {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}
OF_BOOLS = {"reduce_and": "ReduceMin", "reduce_or": "ReduceMax"}


def broadcast(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """Only puts axes of length 1 where the new ones will be."""
    x, shape, axes = operands[0], tuple(equation.params["shape"]), equation.params["broadcast_dimensions"]
    old = x.narrow if len(x.narrow) == len(x.shape) else (1,) * len(x.shape)  # a number may stand for any shape
    narrow = [1] * len(shape)
    for size, axis in zip(old, axes, strict=True):
        narrow[axis] = size
    if x.is_constant:
        return constant(x.constant.reshape(narrow), shape)
    name = graph.narrow(x)
    if x.narrow != tuple(narrow):
        name = graph.node("Reshape", [name, whole_numbers(graph, narrow)], narrow, x.dtype).name
    return Value(shape, x.dtype, name=name, narrow=tuple(narrow))


def iota(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    shape, axis = equation.params["shape"], equation.params["dimension"]
    narrow = [1] * len(shape)
    narrow[axis] = shape[axis]
    return constant(np.arange(shape[axis], dtype=equation.params["dtype"]).reshape(narrow), tuple(shape))


def reshape(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    return reshaped(graph, operands[0], equation.outvars[0].aval.shape)


def transpose(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    return transposed(graph, operands[0], equation.params["permutation"])


def cut(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    starts, ends = equation.params["start_indices"], equation.params["limit_indices"]
    return sliced(graph, operands[0], starts, ends, equation.params["strides"] or [1] * len(starts))


def reverse(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    (x,), axes = operands, equation.params["dimensions"]
    axes = [int(axis) for axis in axes]
    before_first = np.iinfo(np.int64).min
    given = [[-1] * len(axes), [before_first] * len(axes), axes, [-1] * len(axes)]
    return graph.node("Slice", [x, *[whole_numbers(graph, numbers) for numbers in given]], x.shape, x.dtype)


def split(graph: Graph, equation: Any, operands: list[Value]) -> list[Value]:
    outputs = [(var.aval.shape, var.aval.dtype) for var in equation.outvars]
    sizes = whole_numbers(graph, equation.params["sizes"])
    return graph.nodes_out("Split", [operands[0], sizes], outputs, axis=int(equation.params["axis"]))


def concatenate(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    return joined(graph, operands, int(equation.params["dimension"]))


def stack(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    axis, shape = int(equation.params["axis"]), list(operands[0].shape)
    shape.insert(axis, 1)
    return joined(graph, [reshaped(graph, x, shape) for x in operands], axis)


def unstack(graph: Graph, equation: Any, operands: list[Value]) -> list[Value]:
    """How newer versions of jax take an array apart: `x, y = points`."""
    (x,), axis = operands, int(equation.params["axis"])
    outs = [var.aval.shape for var in equation.outvars]
    part = [1 if i == axis else length for i, length in enumerate(x.shape)]
    parts = graph.nodes_out(
        "Split", [x, whole_numbers(graph, [1] * len(outs))], [(part, x.dtype)] * len(outs), axis=axis
    )
    return [reshaped(graph, part, shape) for part, shape in zip(parts, outs, strict=True)]


def pad(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    (x, filling), out = operands, equation.outvars[0].aval
    before, after, between = zip(*equation.params["padding_config"], strict=True)
    if any(between):
        raise UserError("export: ONNX: jax's operation 'pad' between numbers has no converter")
    return graph.node("Pad", [x, whole_numbers(graph, [*before, *after]), filling], out.shape, x.dtype)


def reduced(graph: Graph, kind: str, x: Value, axes: Sequence[int], shape: Sequence[int]) -> Value:
    """Sums, or the like, along axes, which go."""
    return graph.node(kind, [x, whole_numbers(graph, axes)], shape, x.dtype, keepdims=0)


def reduction(graph: Graph, equation: Any, operands: list[Value], kind: str) -> Value:
    return reduced(graph, kind, operands[0], equation.params["axes"], equation.outvars[0].aval.shape)


def reduction_of_bools(graph: Graph, equation: Any, operands: list[Value], kind: str) -> Value:
    numbers = as_type(graph, operands[0], np.int32)
    found = reduced(graph, kind, numbers, equation.params["axes"], equation.outvars[0].aval.shape)
    return as_type(graph, found, bool)


def place_of_extreme(graph: Graph, equation: Any, operands: list[Value], kind: str) -> Value:
    """Of equal ones the first, in both worlds."""
    (axis,), out = equation.params["axes"], equation.outvars[0].aval
    found = graph.node(kind, operands, out.shape, np.int64, axis=int(axis), keepdims=0)
    return as_type(graph, found, out.dtype)


CONVERTERS: dict[str, Converter] = {
    **{name: partial(reduction, kind=kind) for name, kind in REDUCTIONS.items()},
    **{name: partial(reduction_of_bools, kind=kind) for name, kind in OF_BOOLS.items()},
    "argmax": partial(place_of_extreme, kind="ArgMax"),
    "argmin": partial(place_of_extreme, kind="ArgMin"),
    "broadcast_in_dim": broadcast,
    "concatenate": concatenate,
    "iota": iota,
    "pad": pad,
    "reshape": reshape,
    "rev": reverse,
    "slice": cut,
    "split": split,
    "squeeze": reshape,
    "stack": stack,
    "transpose": transpose,
    "unstack": unstack,
}
