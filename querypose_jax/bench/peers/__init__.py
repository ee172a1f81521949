"""The PyTorch peers, a file for each family: independent implementations that the tables run beside ours.

Such a file has `about(config) -> (why there is no peer or None, what it is)` and `load(config, state) -> peer` with our
weights; a peer has `inference(batch, way) -> run() -> keypoints [B, N, K, 2]` and `training(batch, way) -> run()`.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from flax import nnx
from ml_collections import ConfigDict


def about_peer(config: ConfigDict) -> tuple[str | None, str]:
    """(why there is no peer for a model, or None; what the peer is)."""
    module = peer_module(config)
    return (f"there is none for the family {config.model.name!r}", "") if module is None else module.about(config)


def load_peer(config: ConfigDict, state: nnx.State) -> Any:
    """The peer of a model that has one, with its weights."""
    return peer_module(config).load(config, state)


def peer_module(config: ConfigDict) -> ModuleType | None:
    """The file of the family's name, None where there is none."""
    known = {module.name for module in iter_modules(__path__)}
    return import_module(f"{__name__}.{config.model.name}") if config.model.name in known else None
