"""When `path="auto"` takes a CUDA kernel, and how calls of kernels are split over devices."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, PyTree

_is_portable = ContextVar("_is_portable", default=False)


@contextmanager
def portable_programs() -> Iterator[None]:
    """What is traced inside has no calls of kernels, which are not stable across versions of jax: for exports."""
    token = _is_portable.set(True)
    try:
        yield
    finally:
        _is_portable.reset(token)


def takes_kernels() -> bool:
    """True in a process with a GPU, outside of `portable_programs`: elsewhere kernels would be traced for nothing."""
    return not _is_portable.get() and jax.default_backend() == "gpu"


def on_every_device(function: Callable[..., Any], *arrays: PyTree[Array]) -> Any:
    """Calls a function of pictures, the leading axis of all arrays and results, on those that each device holds.

    XLA splits its own operations over devices by itself, but would gather the arguments of a kernel's call on all of
    them. Without kernels, on one device, or where pictures do not split evenly, it is a plain call.
    """
    mesh = jax.sharding.get_abstract_mesh()
    pictures = {array.shape[0] for array in jax.tree.leaves(arrays)}
    is_split = not mesh.empty and mesh.size > 1 and AxisType.Manual not in mesh.axis_types
    if not (takes_kernels() and is_split) or any(count % mesh.size for count in pictures):
        return function(*arrays)
    by_picture = PartitionSpec(mesh.axis_names)
    return jax.shard_map(function, mesh=mesh, in_specs=by_picture, out_specs=by_picture, check_vma=False)(*arrays)
