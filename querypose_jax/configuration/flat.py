"""Configurations as flat dicts: {"train.seed": 0}; and what makes two of them the same run."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from querypose_jax.models.registry import family_of

MAY_CHANGE = ("data.root", "data.prepared", "data.workers")  # where and how data is read, not what is read


def flat(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | dict):
            values |= {f"{name}.{key}": item for key, item in flat(value).items()}
        else:
            values[name] = value
    return values


def differing(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Flat keys of the model, the data, the seed and what trains in which two configurations are other runs, sorted."""
    a, b = _identity(old), _identity(new)
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def _identity(config: ConfigDict) -> dict[str, Any]:
    chosen = {key: value for key, value in flat(config).items() if key.startswith(("model.", "data."))}
    chosen |= {"train.seed": config.train.seed, "optimizer.freeze": config.optimizer.freeze}
    free = (*MAY_CHANGE, *family_of(config).may_change)
    return {key: value for key, value in chosen.items() if key not in free}
