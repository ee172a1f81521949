"""How PyTorch stores a weight and how we do: one `Source` per array of ours, both ways.

A module's parameters are described by a NameMap: our path -> where the array comes from in a state dict with the
released ("official") names.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Path = tuple[str | int, ...]


class Source(NamedTuple):
    """The official tensors one array of ours is made of."""

    names: tuple[str, ...]
    to_ours: Callable[[Sequence[np.ndarray]], np.ndarray]
    to_official: Callable[[np.ndarray], Sequence[np.ndarray]]


NameMap = dict[Path, Source]


def permuted(name: str, axes: Sequence[int]) -> Source:
    """One tensor with its axes in another order."""
    back = np.argsort(axes)
    return Source((name,), lambda x: np.transpose(x[0], axes), lambda x: [np.transpose(x, back)])


def vector(name: str) -> Source:
    """A tensor both sides store alike."""
    return Source((name,), lambda x: np.asarray(x[0]), lambda x: [x])


def matrix(name: str) -> Source:
    """(out, in) -> (in, out)."""
    return permuted(name, (1, 0))


def kernel(name: str) -> Source:
    """Convolution (out, in, h, w) -> (h, w, in, out)."""
    return permuted(name, (2, 3, 1, 0))


def transposed_kernel(name: str) -> Source:
    """Transposed convolution (in, out, h, w) -> (h, w, in, out)."""
    return permuted(name, (2, 3, 0, 1))


def stacked(sources: Sequence[Source]) -> Source:
    """Several one-tensor sources of the same shape, along a new first axis."""
    return Source(
        tuple(source.names[0] for source in sources),
        lambda x: np.stack([source.to_ours([part]) for source, part in zip(sources, x, strict=True)]),
        lambda x: [source.to_official(part)[0] for source, part in zip(sources, x, strict=True)],
    )


def prefixed(path: Path, entries: NameMap) -> NameMap:
    """The entries of a module that sits at `path`."""
    return {path + inner: source for inner, source in entries.items()}


def linear_names(name: str, bias: bool = True) -> NameMap:
    """nnx.Linear <- torch Linear."""
    return {("kernel",): matrix(f"{name}.weight")} | ({("bias",): vector(f"{name}.bias")} if bias else {})


def conv_names(name: str, bias: bool = True) -> NameMap:
    """Conv <- torch Conv2d."""
    return {("kernel",): kernel(f"{name}.weight")} | ({("bias",): vector(f"{name}.bias")} if bias else {})


def norm_names(name: str, statistics: bool = False) -> NameMap:
    """A norm's scale and bias, and for batch norms its running statistics."""
    names: NameMap = {("scale",): vector(f"{name}.weight"), ("bias",): vector(f"{name}.bias")}
    if statistics:
        names |= {("mean",): vector(f"{name}.running_mean"), ("var",): vector(f"{name}.running_var")}
    return names
