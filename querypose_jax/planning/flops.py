"""Floating-point operations by part of a model, counted in the traced program.

XLA's own count depends on how a platform rewrites a program; this one counts what the model asks for. Parts are the
names that modules give themselves with `jax.named_scope`, which profiles show too.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

OTHER = "other"


def flops_by_part(function: Callable, *arguments: Any) -> dict[str, float]:
    """Multiplications and additions of all products and convolutions of a call, by outermost named scope.

    Args:
        function, arguments: what is called; arrays or their shapes (`jax.ShapeDtypeStruct`). Nothing is computed.

    Returns:
        Operations by name, in the order in which they come; OTHER for what stands in no scope. Of the branches of a
        condition the last counts, which is the default where a platform chooses; of a loop without a fixed length
        one turn.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr, None)


def _count(jaxpr: Any, outer: str | None) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for equation in jaxpr.eqns:
        part = outer or str(equation.source_info.name_stack).split("/")[0] or None
        if own := _operations(equation):
            total[part or OTHER] += own
            continue
        inner = [_count(inside, part) for inside in jaxprs_in_params(equation.params)]
        if equation.primitive.name == "cond":
            inner = inner[-1:]
        repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for counts in inner:
            for name, count in counts.items():
                total[name] += repeats * count
    return dict(total)


def _operations(equation: Any) -> float:
    """Of one product or convolution; 0 for anything else."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        contracted, _ = params["dimension_numbers"][0]
        per_output = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
    elif name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        per_output = math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
    else:
        return 0
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * per_output
