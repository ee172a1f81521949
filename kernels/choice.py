"""When `path="auto"` takes a kernel of a platform, and how calls of kernels are split over devices."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, PyTree

SMALL_TPUS = ("TPU v2", "TPU v3", "TPU v4")  # 16 MiB of vector memory, where kernels want 64: they do without

_is_portable = ContextVar("_is_portable", default=False)
_target: ContextVar[str | None] = ContextVar("_target", default=None)


@contextmanager
def portable_programs() -> Iterator[None]:
    """What is traced inside has no calls of kernels, which are not stable across versions of jax: for exports."""
    token = _is_portable.set(True)
    try:
        yield
    finally:
        _is_portable.reset(token)


@contextmanager
def programs_for(kind: str) -> Iterator[None]:
    """What is traced inside is compiled for a kind of TPU, by its `device_kind`, whatever this process has."""
    token = _target.set(kind)
    try:
        yield
    finally:
        _target.reset(token)


def kernel_platform() -> str | None:
    """Whose kernels programs take: "cuda" in a process with a GPU, "tpu" where they are for TPUs.

    None elsewhere, where kernels would be traced for nothing, and in `portable_programs`.
    """
    if _is_portable.get():
        return None
    kind = _target.get()
    if kind is None:
        if jax.default_backend() != "tpu":
            return "cuda" if jax.default_backend() == "gpu" else None
        kind = jax.devices()[0].device_kind
    return None if kind.startswith(SMALL_TPUS) else "tpu"


def on_every_device(function: Callable[..., Any], *arrays: PyTree[Array], kernels: Sequence[str] = ("cuda",)) -> Any:
    """Calls a function of pictures, the leading axis of all arrays and results, on those that each device holds.

    XLA splits its own operations over devices by itself, but would gather the arguments of a kernel's call on all of
    them. Without kernels, on one device, or where pictures do not split evenly, it is a plain call.

    Args:
        kernels: the platforms where the function calls one.
    """
    mesh = jax.sharding.get_abstract_mesh()
    pictures = {array.shape[0] for array in jax.tree.leaves(arrays)}
    is_split = not mesh.empty and mesh.size > 1 and AxisType.Manual not in mesh.axis_types
    if not (kernel_platform() in kernels and is_split) or any(count % mesh.size for count in pictures):
        return function(*arrays)
    by_picture = PartitionSpec(mesh.axis_names)
    return jax.shard_map(function, mesh=mesh, in_specs=by_picture, out_specs=by_picture, check_vma=False)(*arrays)
