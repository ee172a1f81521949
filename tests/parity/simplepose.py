"""What the tests of SimplePose's goldens share: the configuration that a golden asks for."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from configs.simplepose import defaults
from querypose_jax.layers.initialisers import Keys
from querypose_jax.models.simplepose.network import Network
from querypose_jax.models.simplepose.params import official_names
from querypose_jax.skeletons import Skeleton, get_skeleton
from tests.parity import goldens

COMPILED_SOON = {"xla_backend_optimization_level": 0}  # a network that runs once: compiling is all that takes time


def skeleton_group(names: Sequence[str], limbs: Sequence, sigmas: Sequence[float]) -> ConfigDict:
    """config.data.skeleton of a golden: left and right are told by the joints' names."""
    right = {name: name.replace("left", "right") for name in names if "left" in name}
    called = [(names[start], names[end]) for start, end in limbs]
    pairs = tuple((name, other) for name, other in right.items() if other in names)
    return ConfigDict(dict(names=tuple(names), limbs=tuple(called), sigmas=tuple(sigmas), flip_pairs=pairs))


def nameless_skeleton(joints: int, limbs: Sequence, sigmas: Sequence[float] | None = None) -> Skeleton:
    """A skeleton of which a golden tells limbs only."""
    names = [f"joint_{j}" for j in range(joints)]
    return get_skeleton(skeleton_group(names, limbs, [0.1] * joints if sigmas is None else sigmas))


def experiment(theirs: dict, dtype: str) -> ConfigDict:
    """The whole configuration for the `config` of a golden or a manifest."""
    config = defaults.get_config()
    config.model.dtype = dtype
    config.model.scale_head = theirs["scale_head"]
    shape = {key: theirs[key] for key in ("depth", "stem_dim", "feature_dim", "stacks")}
    config.model.backbone.update(**shape, dims=tuple(theirs["dims"]), mods=tuple(theirs["mods"]))
    del config.data.skeleton  # a name
    config.data.skeleton = skeleton_group(theirs["joints"], theirs["limbs"], theirs["sigmas"])
    return config


def abstract_network(config: ConfigDict) -> Network:
    """The network with shapes in place of numbers."""
    skeleton, dtype = get_skeleton(config.data.skeleton), jnp.dtype(config.model.dtype)
    return nnx.eval_shape(lambda: Network(config.model, skeleton, 0, dtype, Keys(jax.random.key(0))))


def network_names(config: ConfigDict) -> goldens.NameMap:
    """Official names below the network."""
    return {path[1:]: source for path, source in official_names(config).items()}


def network(config: ConfigDict, tag: str) -> Network:
    """The network with generated weights."""
    return goldens.fill(abstract_network(config), network_names(config), tag, config.model.dtype)


def channels_first(maps: np.ndarray) -> np.ndarray:
    """[..., h, w, K] or [..., h, w, E, 2] (told by `offsets`) -> [..., C, h, w], as goldens store them."""
    return np.moveaxis(np.asarray(maps), -1, -3)


def offsets_first(offsets: np.ndarray) -> np.ndarray:
    """[..., h, w, E, 2] -> [..., 2E, h, w]."""
    offsets = np.asarray(offsets)
    return channels_first(offsets.reshape(*offsets.shape[:-2], -1))
