"""Operations on numbers at the same place. Operands that broadcast stay as small as they are."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from onnx import helper

from querypose_jax.onnx.graph import Converter, Graph, Value, constant
from querypose_jax.onnx.products import take_up

ONE_TO_ONE = {  # jax's operation -> ONNX's
    "abs": "Abs", "add": "Add", "cos": "Cos", "div": "Div", "exp": "Exp",
    "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "log": "Log", "logistic": "Sigmoid",
    "lt": "Less", "min": "Min", "mul": "Mul", "neg": "Neg", "pow": "Pow", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt",
    "sub": "Sub", "eq": "Equal",
}  # fmt: skip
OF_BOOLS = {"and": "And", "or": "Or", "not": "Not"}
FOLLOWS_CONVOLUTION = ("add", "sub", "mul")


def apply(
    graph: Graph, kind: str, operands: Sequence[Value], shape: Sequence[int], dtype: Any, **attributes: Any
) -> Value:
    """A node whose operands broadcast, and whose result does."""
    narrow = np.broadcast_shapes(*[x.narrow for x in operands])
    names = [graph.narrow(x) for x in operands]
    result = graph.node(kind, names, narrow, dtype, **attributes)
    return Value(tuple(shape), result.dtype, name=result.name, narrow=narrow)


def arithmetic(graph: Graph, kind: str, a: Value, b: Value) -> Value:
    """Add or Mul of whole numbers, computed at once where both are known."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    if a.is_constant and b.is_constant:
        return constant({"Add": np.add, "Mul": np.multiply}[kind](a.constant, b.constant), shape)
    return apply(graph, kind, [a, b], shape, a.dtype)


def one_to_one(graph: Graph, equation: Any, operands: list[Value], kind: str) -> Value:
    out = equation.outvars[0].aval
    if equation.primitive.name in FOLLOWS_CONVOLUTION and (taken := take_up(equation.primitive.name, *operands)):
        return taken
    return apply(graph, kind, operands, out.shape, out.dtype)


def of_bools(graph: Graph, equation: Any, operands: list[Value], kind: str) -> Value:
    """jax's are bitwise, and of bools logical."""
    kind = kind if operands[0].dtype == bool else f"Bitwise{kind}"
    return apply(graph, kind, operands, equation.outvars[0].aval.shape, operands[0].dtype)


def unequal(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    shape = equation.outvars[0].aval.shape
    return apply(graph, "Not", [apply(graph, "Equal", operands, shape, bool)], shape, bool)


def maximum(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """With zero: Relu, which runtimes join with the operation before it."""
    out = equation.outvars[0].aval
    for zero, other in (operands, operands[::-1]):
        if zero.is_constant and not zero.constant.any() and out.dtype == np.float32:
            return apply(graph, "Relu", [other], out.shape, out.dtype)
    return apply(graph, "Max", operands, out.shape, out.dtype)


def square(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    return apply(graph, "Mul", operands * 2, operands[0].shape, operands[0].dtype)


def rsqrt(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    (x,) = operands
    return apply(graph, "Reciprocal", [apply(graph, "Sqrt", [x], x.shape, x.dtype)], x.shape, x.dtype)


def erfc(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """1 - erf: exact to a rounding of 1, where GELU uses it."""
    (x,) = operands
    one = constant(np.ones((), x.dtype))
    return apply(graph, "Sub", [one, apply(graph, "Erf", [x], x.shape, x.dtype)], x.shape, x.dtype)


def remainder(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """With the sign of the dividend, as in C."""
    return apply(graph, "Mod", operands, equation.outvars[0].aval.shape, operands[0].dtype, fmod=1)


def select(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    """The second where the first is false, else the third; onnxruntime has no Where of bools."""
    which, otherwise, chosen = operands
    shape = equation.outvars[0].aval.shape
    if chosen.dtype != bool:
        return apply(graph, "Where", [which, chosen, otherwise], shape, chosen.dtype)
    first = apply(graph, "And", [which, chosen], shape, bool)
    second = apply(graph, "And", [apply(graph, "Not", [which], shape, bool), otherwise], shape, bool)
    return apply(graph, "Or", [first, second], shape, bool)


def cast(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    (x,), dtype = operands, np.dtype(equation.params["new_dtype"])
    return x if x.dtype == dtype else as_type(graph, x, dtype)


def as_type(graph: Graph, x: Value, dtype: Any) -> Value:
    """The same numbers in another type."""
    return apply(graph, "Cast", [x], x.shape, dtype, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def same(graph: Graph, equation: Any, operands: list[Value]) -> Value:
    return operands[0]


CONVERTERS: dict[str, Converter] = {
    **{name: partial(one_to_one, kind=kind) for name, kind in ONE_TO_ONE.items()},
    **{name: partial(of_bools, kind=kind) for name, kind in OF_BOOLS.items()},
    "convert_element_type": cast,
    "copy": same,
    "erfc": erfc,
    "max": maximum,
    "ne": unequal,
    "rem": remainder,
    "rsqrt": rsqrt,
    "select_n": select,
    "square": square,
    "stop_gradient": same,
}
