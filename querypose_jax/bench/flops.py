"""Floating-point operations of matrix products and convolutions, counted in the traced program.

XLA's own count depends on how a platform rewrites a program; this one counts what the model asks for.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


def count_flops(function: Callable, *arguments: Any) -> float:
    """Multiplications and additions of all products and convolutions of a call. A loop's body counts once."""
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            shape = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[i] for i in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            out_feature = equation.params["dimension_numbers"].rhs_spec[0]
            per_output = math.prod(kernel) / kernel[out_feature]
            total += 2 * math.prod(equation.outvars[0].aval.shape) * per_output
        else:
            repeats = equation.params.get("length", 1) if name == "scan" else 1
            branches = equation.params.get("branches")
            if branches:
                total += max(_count(branch.jaxpr) for branch in branches)
            else:
                total += repeats * sum(map(_count, jaxprs_in_params(equation.params)))
    return total
