"""Ranges of configuration values, told in one line: key, value, what is allowed."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from querypose_jax.errors import UserError


def check_ranges(
    config: ConfigDict,
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    shares: Sequence[str] = (),
    ascending: Sequence[str] = (),
    one_of: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Looks at values under dotted keys, all numbers of a tuple alike; a share is from 0 to 1.

    Raises:
        UserError: the first one found.
    """
    for key in positive:
        require(all(value > 0 for value in listed(config, key)), config, key, "must be positive")
    for key in not_negative:
        require(all(value >= 0 for value in listed(config, key)), config, key, "must not be negative")
    for key in shares:
        require(0 <= config_value(config, key) <= 1, config, key, "must be from 0 to 1")
    for key in ascending:
        values = list(config_value(config, key))
        require(values == sorted(values), config, key, "must ascend")
    for key, allowed in (one_of or {}).items():
        require(config_value(config, key) in allowed, config, key, f"is unknown; known: {', '.join(allowed)}")


def require(holds: Any, config: ConfigDict, key: str, otherwise: str) -> None:
    """Raises UserError with the key, its value and the reason, unless the condition holds."""
    if not holds:
        raise UserError(f"config.{key}={config_value(config, key)!r} {otherwise}")


def config_value(config: ConfigDict, key: str) -> Any:
    """The value under a dotted key."""
    value = config
    for name in key.split("."):
        value = value[name]
    return value


def listed(config: ConfigDict, key: str) -> Sequence[Any]:
    """The value under a dotted key, one value as a sequence of one."""
    value = config_value(config, key)
    return value if isinstance(value, tuple | list) else (value,)
