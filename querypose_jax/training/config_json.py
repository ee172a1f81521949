"""DIR/config.json: the resolved configuration of a run, written once, read back as the same ConfigDict."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.files import write_json

NAME = "config.json"
# What runs of earlier versions did, whose config.json does not name these keys.
YOUNGER = {
    "model.query_feedback": "released",
    "model.pose_query": "part",
    "model.part_reading": "attention",
    "model.iteration": "selective",
}
MAY_CHANGE = ("data.root", "data.prepared", "data.workers")  # where and how data is read, not what is read


def write_config(directory: Path, config: ConfigDict) -> None:
    """Writes DIR/config.json in one piece, creating DIR where needed."""
    write_json(directory / NAME, config.to_dict(), indent=2)


def read_config(directory: Path) -> ConfigDict:
    """Reads DIR/config.json. JSON has no tuples and configurations have no lists, so every list becomes a tuple.

    Raises:
        UserError: the file is missing or is no JSON.
    """
    path = directory / NAME
    try:
        return ConfigDict(_tuples(json.loads(path.read_text())))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name the folder of a run or of imported weights") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON file ({error}); restore it or start in another folder") from None


def check_same_run(directory: Path, config: ConfigDict) -> None:
    """Refuses to continue the run in DIR with another model, other data or another seed.

    Steps, schedule, evaluation and mesh may change between two starts.

    Raises:
        UserError: naming the first keys that differ.
    """
    if not (directory / NAME).exists():
        return
    old, new = _identity(read_config(directory)), _identity(config)
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if differing:
        shown = ", ".join(f"{key} is {old.get(key)!r} there and {new.get(key)!r} here" for key in differing[:3])
        more = f" and {len(differing) - 3} more differ" if len(differing) > 3 else ""
        raise UserError(f"{directory} holds the run of another configuration: {shown}{more}; use another workdir")


def model_hash(config: ConfigDict) -> str:
    """Twelve hex digits that tell two model configurations apart."""
    return hashlib.sha256(json.dumps(config.model.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def _identity(config: ConfigDict) -> dict[str, Any]:
    """The flattened keys that make two runs the same run."""
    flat = YOUNGER | flatten({group: config[group].to_dict() for group in ("model", "data")})
    flat["train.seed"] = config.train.seed
    flat.pop("model.roi_align", None)  # how features are pooled, not what comes out
    return {key: value for key, value in flat.items() if key not in MAY_CHANGE}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
