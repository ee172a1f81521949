"""Names and types of a configuration against those of the defaults: a config file can write what nobody reads."""

import difflib
from typing import Any

from ml_collections import ConfigDict

from querypose_jax.errors import UserError

# What other values decide: settings of the drawn data set, files and skeleton of one's own.
FREE = ("data.synthetic", "data.custom", "data.skeleton")


def check_keys(config: ConfigDict, defaults: ConfigDict) -> None:
    """Every key of `config` is one of the defaults' and every value of its default's type; touches no device.

    Whole numbers do for numbers, and a tuple holds what the default's tuple holds. A default of None takes anything.

    Raises:
        UserError: the first thing found; for an unknown key with the nearest known one.
    """
    known = flat(defaults)
    for key, value in flat(config).items():
        if any(key == free or key.startswith(f"{free}.") for free in FREE):
            continue
        if key not in known:
            raise UserError(f"config.{key} is no known key{nearest(key, list(known))}; configs/common.py lists them")
        if not fits(value, known[key]):
            raise UserError(f"config.{key}={value!r} must be {described(known[key])}, as in {known[key]!r}")


def flat(config: ConfigDict) -> dict[str, Any]:
    """Values by dotted key."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            values |= {f"{name}.{key}": item for key, item in flat(value).items()}
        else:
            values[name] = value
    return values


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
        return isinstance(value, tuple | list) and (not default or all(fits(item, default[0]) for item in value))
    return isinstance(value, type(default))


def described(default: Any) -> str:
    """The type of a default in words."""
    if isinstance(default, tuple | list):
        return "a tuple"
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
    return names.get(type(default), type(default).__name__)
