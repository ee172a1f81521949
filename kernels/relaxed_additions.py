"""Additions to device memory in Pallas kernels for CUDA, without the order that Pallas asks for around each of them.

Pallas's Triton lowering makes `jax.ref.addupdate` an atomic addition that acquires and releases: every thread waits for
all its writes, and drops what its cache holds, before it goes on. Sums that nobody reads before the kernel has ended
need no order. Pallas has no option for it, so this replaces the rule by which it lowers `addupdate`, and nothing else,
by the same rule with another order. Where a version of jax has no such rule, additions stay ordered:
slower, and right.
"""

from functools import cache, partial, wraps
from types import FunctionType


@cache
def relax_additions() -> bool:
    """Replaces the rule, once for this process; False where this jax has none that fits."""
    try:
        from jax._src.lib.triton import dialect
        from jax._src.pallas.triton import lowering
        from jax._src.state.primitives import addupdate_p

        ordered = lowering.triton_lowering_rules[addupdate_p]
        relaxed = partial(lowering._atomic_rmw, semantic=dialect.MemSemantic.RELAXED)
        names = {**vars(lowering), "_atomic_rmw": relaxed}
        rule = FunctionType(ordered.__code__, names, ordered.__name__, ordered.__defaults__, ordered.__closure__)
    except (ImportError, AttributeError, KeyError):
        return False
    lowering.triton_lowering_rules[addupdate_p] = wraps(ordered)(rule)
    return True
