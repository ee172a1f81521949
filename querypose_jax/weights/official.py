"""Official state dicts to our parameters and back: pure functions on numpy arrays."""

from collections.abc import Mapping

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import NameMap, Path
from querypose_jax.models.querypose.params import KNOWINGLY_UNUSED, official_names
from querypose_jax.models.registry import build_model
from querypose_jax.skeletons import get_skeleton


def from_official(state: Mapping[str, np.ndarray], config: ConfigDict) -> nnx.State:
    """The parameters and statistics of `build_model(config)` from a state dict with official names.

    Args:
        state: official name -> array in PyTorch's layout.
        config: the whole config; its model must have the shapes of the state dict.

    Raises:
        UserError: missing or unexpected names, or shapes that differ; the first few are listed.
    """
    abstract = nnx.state(nnx.eval_shape(lambda: build_model(config, rngs=nnx.Rngs(0))))
    names = official_names(config.model, get_skeleton(config.data.skeleton))
    unexpected = unused_names(state, names)
    if unexpected:
        raise UserError(
            f"{len(unexpected)} names are not part of this model: {few(unexpected)}; is the config the right one?"
        )
    arrays = convert(state, names, {path: leaf.shape for path, leaf in nnx.to_flat_state(abstract)})
    flat = [(path, leaf.replace(arrays[path].astype(leaf.dtype))) for path, leaf in nnx.to_flat_state(abstract)]
    return nnx.from_flat_state(flat)


def to_official(params: nnx.State, config: ConfigDict) -> dict[str, np.ndarray]:
    """The inverse of `from_official`, without the tensors that the released code never applies."""
    names = official_names(config.model, get_skeleton(config.data.skeleton))
    state: dict[str, np.ndarray] = {}
    for path, leaf in nnx.to_flat_state(params):
        source = names[path]
        state.update(zip(source.names, source.to_official(np.asarray(leaf[...])), strict=True))
    return state


def convert(
    state: Mapping[str, np.ndarray], names: NameMap, shapes: Mapping[Path, tuple[int, ...]]
) -> dict[Path, np.ndarray]:
    """Our arrays for every path of `shapes`, in PyTorch's dtype.

    Raises:
        UserError: names that are missing or shapes that differ.
    """
    missing = [name for path in shapes for name in names[path].names if name not in state]
    if missing:
        raise UserError(f"{len(missing)} names are missing: {few(missing)}; is the config the right one?")
    arrays = {path: names[path].to_ours([np.asarray(state[name]) for name in names[path].names]) for path in shapes}
    differing = [
        f"{names[path].names[0]} {arrays[path].shape} instead of {tuple(shape)}"
        for path, shape in shapes.items()
        if arrays[path].shape != tuple(shape)
    ]
    if differing:
        raise UserError(f"{len(differing)} shapes differ: {few(differing)}; is the config the right one?")
    return arrays


def unused_names(state: Mapping[str, np.ndarray], names: NameMap) -> list[str]:
    """Names of the state dict that the map does not use, except for those known to carry nothing."""
    used = {name for source in names.values() for name in source.names}
    return [name for name in state if name not in used and not KNOWINGLY_UNUSED.search(name)]


def few(items: list[str], limit: int = 3) -> str:
    """The first items and how many more there are."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
