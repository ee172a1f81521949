"""Official state dicts to our parameters and back: pure functions on numpy arrays."""

from collections.abc import Mapping

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import NameMap, Path
from querypose_jax.models.family import OfficialWeights
from querypose_jax.models.registry import abstract_model, family_of
from querypose_jax.weights.report import match
from querypose_jax.weights.sources import translate

Shape = tuple[int, ...]


def from_official(state: Mapping[str, np.ndarray], config: ConfigDict) -> nnx.State:
    """The parameters and statistics of `build_model(config)` from a state dict with official names.

    Args:
        state: official name -> array in PyTorch's layout.
        config: the whole config; its model must have the shapes of the state dict.

    Raises:
        UserError: missing or unexpected names, or shapes that differ; the first few are listed.
    """
    variables, names = abstract(config)
    expected = official_shapes(variables, names)
    found = translate(state, "official", config, expected)
    tensors, report = match(found._replace(of_trunk=False), expected)
    if report.problems:
        raise UserError(f"{report.problem()}; is the config the right one?")
    return to_state(tensors, variables, names)


def to_official(params: nnx.State, config: ConfigDict) -> dict[str, np.ndarray]:
    """The inverse of `from_official`, without the tensors that the released code never applies."""
    names = official_weights(config).names(config)
    state: dict[str, np.ndarray] = {}
    for path, leaf in nnx.to_flat_state(params):
        source = names[path]
        state.update(zip(source.names, source.to_official(np.asarray(leaf[...])), strict=True))
    return state


def abstract(config: ConfigDict) -> tuple[dict[Path, nnx.Variable], NameMap]:
    """Every variable of the model with its shape in place of a value, and where each comes from."""
    names = official_weights(config).names(config)
    return dict(nnx.to_flat_state(abstract_model(config)[1])), names


def official_weights(config: ConfigDict) -> OfficialWeights:
    """What the family of a configuration says about released weights; UserError where it has none."""
    weights = family_of(config).weights
    if weights is None:
        raise UserError(f"config.model.name={config.model.name!r}: the family has no released weights to exchange with")
    return weights


def official_shapes(variables: Mapping[Path, nnx.Variable], names: NameMap) -> dict[str, Shape]:
    """Official name -> shape of everything the model takes."""
    shapes: dict[str, Shape] = {}
    for path, leaf in variables.items():
        no_memory = np.broadcast_to(np.int8(0), leaf.shape)
        tensors = names[path].to_official(no_memory)
        shapes.update((name, x.shape) for name, x in zip(names[path].names, tensors, strict=True))
    return shapes


def to_state(tensors: Mapping[str, np.ndarray], variables: Mapping[Path, nnx.Variable], names: NameMap) -> nnx.State:
    """Our variables, as far as the tensors go: those whose official tensors are all there."""
    flat = []
    for path, leaf in variables.items():
        source = names[path]
        if all(name in tensors for name in source.names):
            array = source.to_ours([np.asarray(tensors[name]) for name in source.names])
            flat.append((path, leaf.replace(array.astype(leaf.dtype))))
    return nnx.from_flat_state(flat)
