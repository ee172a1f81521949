"""Matrix products, convolutions and pooling.

Maps are [B, h, w, C] here and [B, C, h, w] in ONNX: every convolution stands between two transpositions, which
runtimes move together and cancel. What a batch norm does to a convolution goes into its kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from querypose_jax.errors import UserError
from querypose_jax.onnx.graph import Converter, Graph, Value, constant
from querypose_jax.onnx.shaping import reshaped, size, transposed

TO_ONNX, FROM_ONNX = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True)
class Convolution:
    """One whose kernel is known, as long as nobody has read its result: y = conv(x) + bias."""

    x: Value
    kernel: np.ndarray
    """[k, k, C, D]"""
    bias: np.ndarray
    """[D]"""
    shape: tuple[int, ...]
    attributes: dict[str, Any]

    def emit(self, graph: Graph) -> Value:
        """Adds its nodes."""
        batch, height, width, channels = self.shape
        x = transposed(graph, self.x, TO_ONNX)
        given = [x, constant(self.kernel.transpose(3, 2, 0, 1)), constant(self.bias)]
        y = graph.node("Conv", given, (batch, channels, height, width), self.x.dtype, **self.attributes)
        return transposed(graph, y, FROM_ONNX)


def take_up(name: str, a: Value, b: Value) -> Value | None:
    """A convolution plus, minus or times a number per channel, as a convolution; None where it is something else."""
    for value, other, is_first in ((a, b, True), (b, a, False)):
        done = value.pending
        fits = other.is_constant and other.narrow[-1:] in ((), (1,), value.shape[-1:]) and set(other.narrow[:-1]) <= {1}
        if done is None or not fits:
            continue
        number = np.broadcast_to(other.constant.reshape(-1), done.bias.shape)
        if name == "mul":
            done = replace(done, kernel=done.kernel * number, bias=done.bias * number)
        elif name == "add":
            done = replace(done, bias=done.bias + number)
        elif is_first:
            done = replace(done, bias=done.bias - number)
        else:
            done = replace(done, kernel=-done.kernel, bias=number - done.bias)
        return Value(value.shape, value.dtype, narrow=value.shape, pending=done)
    return None


def convolution(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """Of maps with channels last; the kernel is [k, k, C, D]."""
    (x, kernel), params, out = operands, equation.params, equation.outvars[0].aval
    layout = params["dimension_numbers"]
    fits = (tuple(layout.lhs_spec), tuple(layout.rhs_spec), tuple(layout.out_spec)) == (TO_ONNX, (3, 2, 0, 1), TO_ONNX)
    if not (fits and kernel.is_constant) or set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
        raise UserError(
            "export: ONNX: jax's operation 'conv_general_dilated' has a converter for known kernels, channels last and "
            f"no gaps in the map only; found {layout}, lhs_dilation={params['lhs_dilation']}"
        )
    attributes = dict(
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=_pads(params["padding"]),
        group=params["feature_group_count"],
    )
    bias = np.zeros(out.shape[-1], x.dtype)
    pending = Convolution(x, kernel.full, bias, out.shape, attributes)
    return Value(out.shape, out.dtype, narrow=out.shape, pending=pending)


def max_pool(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """The largest number of each window, along the two middle axes."""
    (x,), params = operands, equation.params
    window = params["window_dimensions"]
    if len(window) != 4 or window[0] != 1 or window[3] != 1 or set(params["base_dilation"]) != {1}:
        raise UserError(f"export: ONNX: jax's operation 'reduce_window_max' has no converter for windows of {window}")
    batch, height, width, channels = equation.outvars[0].aval.shape
    y = graph.node(
        "MaxPool",
        [transposed(graph, x, TO_ONNX)],
        (batch, channels, height, width),
        x.dtype,
        kernel_shape=list(window[1:3]),
        strides=list(params["window_strides"][1:3]),
        dilations=list(params["window_dilation"][1:3]),
        pads=_pads(params["padding"][1:3]),
    )
    return transposed(graph, y, FROM_ONNX)


def product(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """A sum of products over any axes, with any axes in common."""
    (a, b), out = operands, equation.outvars[0].aval
    (sum_a, sum_b), (both_a, both_b) = equation.params["dimension_numbers"]
    rows = [axis for axis in range(len(a.shape)) if axis not in (*sum_a, *both_a)]
    columns = [axis for axis in range(len(b.shape)) if axis not in (*sum_b, *both_b)]
    if not both_a and len(b.shape) == 2 and list(sum_a) == [len(a.shape) - 1]:  # rows times a matrix
        return graph.node("MatMul", [a, transposed(graph, b, [*sum_b, *columns])], out.shape, out.dtype)
    common, length = [a.shape[axis] for axis in both_a], size([a.shape[axis] for axis in sum_a])
    height, width = size([a.shape[axis] for axis in rows]), size([b.shape[axis] for axis in columns])
    left = reshaped(graph, transposed(graph, a, [*both_a, *rows, *sum_a]), (*common, height, length))
    right = reshaped(graph, transposed(graph, b, [*both_b, *sum_b, *columns]), (*common, length, width))
    found = graph.node("MatMul", [left, right], (*common, height, width), out.dtype)
    return reshaped(graph, found, out.shape)


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    return [int(before) for before, _ in padding] + [int(after) for _, after in padding]


CONVERTERS: dict[str, Converter] = {
    "conv_general_dilated": convolution,
    "dot_general": product,
    "reduce_window_max": max_pool,
}
