"""From a traced jax program to ONNX: goes through the operations in order and asks the converter of each.

Calls (jit, custom derivatives, remat) are inlined. Where a program has a branch per platform, the one for platforms
without name is taken. What depends on constants alone is computed here and now.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core
from jaxtyping import Array

from querypose_jax.errors import UserError
from querypose_jax.onnx import arrays, elementwise, picking, products
from querypose_jax.onnx.graph import Converter, Graph, Value, constant, typed

CONVERTERS: dict[str, Converter] = {
    **elementwise.CONVERTERS,
    **arrays.CONVERTERS,
    **products.CONVERTERS,
    **picking.CONVERTERS,
}
CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # parameters that hold what a call calls
NOT_CALLS = ("scan", "while", "cond")  # hold some too


def convert(graph: Graph, program: core.ClosedJaxpr, operands: Sequence[Value]) -> list[Value]:
    """Adds the nodes of a traced program to a graph; returns its results.

    Raises:
        UserError: an operation that has no converter.
    """
    return _inline(graph, program.jaxpr, [constant(x) for x in program.consts], operands)


def _inline(graph: Graph, jaxpr: core.Jaxpr, constants: Sequence[Value], operands: Sequence[Value]) -> list[Value]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *operands], strict=True))

    def read(atom: Any) -> Value:
        is_literal = isinstance(atom, core.Literal)
        return constant(np.asarray(atom.val, atom.aval.dtype)) if is_literal else known[atom]

    for equation in jaxpr.eqns:
        results = _results(graph, equation, [read(atom) for atom in equation.invars])
        known |= dict(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _results(graph: Graph, equation: Any, operands: list[Value]) -> list[Value]:
    name, params = equation.primitive.name, equation.params
    if name == "platform_index":
        return [constant(np.int32(params["platforms"].index(None)))]
    if name == "cond" and operands[0].is_constant:
        return convert(graph, params["branches"][int(operands[0].constant)], operands[1:])
    if name == "scan":
        return scan(graph, equation, operands)
    called = [params[key] for key in CALLS if key in params and name not in NOT_CALLS]
    if called and isinstance(called[0], core.ClosedJaxpr):
        return convert(graph, called[0], operands)
    if called:
        return _inline(graph, called[0], [], operands)
    if name not in CONVERTERS:
        shapes = ", ".join(f"{x.dtype}{list(x.shape)}" for x in operands)
        raise UserError(
            f"export: ONNX: jax's operation {name!r} (of {shapes}) has no converter; "
            "--format=stablehlo exports every model"
        )
    if all(x.is_constant for x in operands) and name not in arrays.STAYS_NARROW:
        return computed(equation, operands)
    results = CONVERTERS[name](graph, equation, operands)
    return results if isinstance(results, list) else [results]


def computed(equation: Any, operands: list[Value]) -> list[Value]:
    """The results of an operation on constants."""
    shapes = [var.aval.shape for var in equation.outvars]
    if equation.primitive.name in elementwise.CONVERTERS:  # on what broadcasts only, and broadcast as before
        given: Any = np.broadcast_arrays(*[x.constant for x in operands])
    else:
        given = [x.full for x in operands]
    found: Any = equation.primitive.bind(*given, **equation.params)
    results: list[Array] = list(found) if equation.primitive.multiple_results else [found]
    return [constant(np.asarray(x), shape) for x, shape in zip(results, shapes, strict=True)]


def scan(graph: Graph, equation: Any, operands: list[Value]) -> list[Value]:
    """A loop over the leading axis; one of a single turn is none."""
    params = equation.params
    consts, carried = scan_counts(params)
    shared, carry, slices = operands[:consts], operands[consts : consts + carried], operands[consts + carried :]
    if params["length"] == 1:
        one = [arrays.reshaped(graph, x, x.shape[1:]) for x in slices]
        results = convert(graph, params["jaxpr"], [*shared, *carry, *one])
        kept, stacked = results[: len(carry)], results[len(carry) :]
        return [*kept, *[arrays.reshaped(graph, x, (1, *x.shape)) for x in stacked]]
    # What a turn shares with the others is computed before the loop, in its whole shape: its nodes belong outside.
    shared = [x if x.is_constant else _named(x, graph.tensor(x)) for x in shared]
    inputs = [graph.tensor(x) for x in [*carry, *slices]]
    inner = [_named(x, graph.new_name("carry")) for x in carry]
    inner += [Value(x.shape[1:], x.dtype, name=graph.new_name("slice"), narrow=x.shape[1:]) for x in slices]
    with graph.nested() as nodes:
        results = convert(graph, params["jaxpr"], [*shared, *inner])
        body = graph.body([typed(x) for x in inner], results, nodes)
    directions = dict(scan_input_directions=len(slices), scan_output_directions=len(results) - len(carry))
    backwards = {name: [int(params["reverse"])] * count for name, count in directions.items() if count}
    return graph.nodes_out(
        "Scan",
        inputs,
        [(var.aval.shape, var.aval.dtype) for var in equation.outvars],
        body=body,
        num_scan_inputs=len(slices),
        **backwards,
    )


def scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """How many operands of a scan are the same in every turn, and how many are carried on."""
    if "ft_in" not in params:  # jax 0.10
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def _named(value: Value, name: str) -> Value:
    """The same, computed, under a name."""
    return Value(value.shape, value.dtype, name=name, narrow=value.shape)
