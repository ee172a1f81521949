"""DIR/config.json: the resolved configuration of a run, written once, read back as the same ConfigDict."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from querypose_jax.configuration.check_keys import other_version
from querypose_jax.configuration.flat import differing, flat
from querypose_jax.errors import UserError
from querypose_jax.files import write_json

NAME = "config.json"
AT_THE_START = ("init_from", "init_map")  # keys that are read there and never again
METADATA = "config"  # key of what a .safetensors file of ours says of itself


def write_config(directory: Path, config: ConfigDict) -> None:
    """Writes DIR/config.json in one piece, creating DIR where needed."""
    write_json(directory / NAME, config.to_dict(), indent=2)


def has_config(directory: Path) -> bool:
    """Whether a folder holds the configuration of a run or an import."""
    return (directory / NAME).is_file()


def changes(directory: Path, config: ConfigDict) -> str:
    """`optimizer.learning_rate 0.0001 -> 0.5, ...`: in what a configuration differs from DIR/config.json; "" where in
    nothing, and where there is none."""
    if not (directory / NAME).exists():
        return ""
    before, now = flat(read_config(directory)), flat(_tuples(json.loads(json.dumps(config.to_dict()))))
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return ", ".join(f"{key} {before.get(key)!r} -> {now.get(key)!r}" for key in keys)


def read_config(directory: Path) -> ConfigDict:
    """Reads DIR/config.json. JSON has no tuples and configurations have no lists, so every list becomes a tuple.

    Raises:
        UserError: the file is missing, is no JSON, or holds other keys than this version's configurations.
    """
    path = directory / NAME
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file; name the folder of a run or of imported weights") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a JSON file ({error}); restore it or start in another folder") from None
    return config_from_text(text, path)


def config_from_text(text: str, path: Path) -> ConfigDict:
    """The configuration that a text of a file holds; see `read_config`, also for errors."""
    try:
        config = ConfigDict(_tuples(json.loads(text)))
    except (json.JSONDecodeError, TypeError) as error:
        raise UserError(f"{path}: not a JSON file ({error}); restore it or start in another folder") from None
    if difference := other_version(config):
        raise UserError(f"{path} is of another version of querypose_jax ({difference}); train or import again")
    return config


def check_same_run(directory: Path, config: ConfigDict) -> None:
    """Refuses to continue the run in DIR with another model, other data or another seed.

    Steps, schedule, evaluation and mesh may change between two starts.

    Raises:
        UserError: naming the first keys that differ, or one that is read where a run starts only.
    """
    if not (directory / NAME).exists():
        return
    old = read_config(directory)
    for key in AT_THE_START:
        if config.get(key) and config[key] != old.get(key):
            raise UserError(
                f"config.{key} is read where a run starts, and {directory} holds one that goes on; leave it out or use "
                "another workdir"
            )
    if keys := differing(old, config):
        before, now = flat(old), flat(config)
        shown = ", ".join(f"{key} is {before.get(key)!r} there and {now.get(key)!r} here" for key in keys[:3])
        more = f" and {len(keys) - 3} more differ" if len(keys) > 3 else ""
        raise UserError(f"{directory} holds the run of another configuration: {shown}{more}; use another workdir")


def model_hash(config: ConfigDict) -> str:
    """Twelve hex digits that tell two model configurations apart."""
    return hashlib.sha256(json.dumps(config.model.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
