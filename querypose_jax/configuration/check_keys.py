"""Names and types of a configuration against those of its family: a config file can write what nobody reads."""

import difflib
import itertools
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from ml_collections import ConfigDict

from querypose_jax.configuration.flat import flat
from querypose_jax.errors import UserError
from querypose_jax.models.registry import family_of

# What other values decide: settings of the drawn data set, files and skeleton of one's own.
FREE = ("data.synthetic", "data.custom", "data.skeleton")


def default_config(config: ConfigDict) -> ConfigDict:
    """Every key of the family that a configuration is for, common ones included, with its default.

    Raises:
        UserError: config.model.name is missing, or no family's.
    """
    if not isinstance(config.get("model"), ConfigDict) or not isinstance(config.model.get("name"), str):
        raise UserError("config.model.name is missing; start a configuration from that of a family, see configs/")
    return import_module(family_of(config).defaults).get_config()


def check_keys(config: ConfigDict) -> None:
    """Every key of `config` is one of its family's and every value of its default's type; touches no device.

    Whole numbers do for numbers, and a tuple holds what the default's tuple holds. A default of None takes anything.

    Raises:
        UserError: the first thing found; for an unknown key with the nearest known one.
    """
    defaults = default_config(config)
    known = flat(defaults)
    for key, value in flat(config).items():
        if is_free(key):
            continue
        if key not in known:
            homes = f"configs/common.py and {family_of(config).defaults} list them"
            raise UserError(f"config.{key} is no known key{nearest(key, list(known))}; {homes}")
        if not fits(value, known[key]):
            raise UserError(f"config.{key}={value!r} must be {described(known[key])}, as in {known[key]!r}")


def other_version(config: ConfigDict) -> str | None:
    """Where a stored configuration has other keys than this version's, the first of them in words; else None."""
    known, there = flat(default_config(config)), flat(config)
    lacking = [key for key in known if key not in there and not is_free(key)]
    unknown = [key for key in there if key not in known and not is_free(key)]
    if lacking:
        return f"it lacks {lacking[0]}"
    return f"it has {unknown[0]}" if unknown else None


def is_free(key: str) -> bool:
    """True below a group whose keys depend on its values."""
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def nearest(key: str, known: list[str]) -> str:
    """`, did you mean KEY` where a known key is spelt or named alike, else nothing."""
    same_name = [other for other in known if other.split(".")[-1] == key.split(".")[-1]]
    found = difflib.get_close_matches(key, known, n=1, cutoff=0.75) or same_name[:1]
    return f", did you mean config.{found[0]}" if found else ""


def fits(value: Any, default: Any) -> bool:
    """True where a value may stand in the place of the default."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, tuple | list):
        return isinstance(value, tuple | list) and (not default or all(map(fits, value, continued(default))))
    return isinstance(value, type(default))


def continued(values: Sequence[Any]) -> Iterator[Any]:
    """The values, then the last one without end."""
    return itertools.chain(values, itertools.repeat(values[-1]))


def described(default: Any) -> str:
    """The type of a default in words."""
    if isinstance(default, tuple | list):
        return "a tuple"
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
    return names.get(type(default), type(default).__name__)
