"""Reshaping, transposing, cutting and joining: at once for constants, else as a node; nothing where nothing changes."""

import math
from collections.abc import Sequence

import numpy as np

from querypose_jax.onnx.graph import Graph, Value, constant


def whole_numbers(graph: Graph, numbers: Sequence[int]) -> str:
    """A constant as ONNX wants shapes, axes and the like."""
    return graph.array(np.array(numbers, np.int64))


def reshaped(graph: Graph, x: Value, shape: Sequence[int]) -> Value:
    """The same numbers row by row in another shape."""
    if x.shape == tuple(shape):
        return x
    if x.is_constant:
        return constant(x.full.reshape(shape))
    return graph.node("Reshape", [x, whole_numbers(graph, shape)], shape, x.dtype)


def transposed(graph: Graph, x: Value, order: Sequence[int]) -> Value:
    """Axes in another order."""
    if list(order) == list(range(len(x.shape))):
        return x
    shape = tuple(x.shape[axis] for axis in order)
    if x.is_constant:
        return constant(x.full.transpose(order))
    return graph.node("Transpose", [x], shape, x.dtype, perm=list(order))


def sliced(graph: Graph, x: Value, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]) -> Value:
    """x[start:end:step] along every axis; a negative step begins at the last number."""
    if x.is_constant:
        return constant(x.full[tuple(map(slice, starts, ends, steps))])
    axes = [i for i, size in enumerate(x.shape) if (starts[i], ends[i], steps[i]) != (0, size, 1)]
    if not axes:
        return x
    shape = list(x.shape)
    for i in axes:
        shape[i] = len(range(x.shape[i])[starts[i] : ends[i] : steps[i]])
    given = [[numbers[i] for i in axes] for numbers in (starts, ends)] + [axes, [steps[i] for i in axes]]
    return graph.node("Slice", [x, *[whole_numbers(graph, numbers) for numbers in given]], shape, x.dtype)


def joined(graph: Graph, parts: Sequence[Value], axis: int) -> Value:
    """One after the other along an axis."""
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return parts[0] if len(parts) == 1 else graph.node("Concat", parts, shape, parts[0].dtype, axis=axis)


def size(shape: Sequence[int]) -> int:
    """How many numbers an array of this shape has."""
    return math.prod(shape)
