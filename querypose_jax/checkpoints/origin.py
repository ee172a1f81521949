"""DIR/origin.json: where the weights of a run, an import or an export come from and what their publisher allows.

Terms go where the weights go: an import writes the file, a run that starts from it copies it, exports copy it again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.files import write_json

NAME = "origin.json"
UNKNOWN = "unknown"
METADATA = "origin"  # key of what a .safetensors file says of itself


def write_origin(directory: Path, origin: Mapping[str, Any]) -> None:
    """Writes DIR/origin.json.

    Args:
        origin: texts: name (of the model), file, sha256, publisher, page, terms; threshold where an evaluation of ours
            has tuned one, see `checkpoints.threshold`.
    """
    write_json(directory / NAME, dict(origin), indent=1)


def read_origin(directory: Path) -> dict[str, Any] | None:
    """What DIR/origin.json holds; None where there is none: weights that were trained here from scratch.

    Raises:
        UserError: it is no JSON.
    """
    path = directory / NAME
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON file ({error}); restore it, or import the weights again") from None


def trained_here(config: ConfigDict) -> dict[str, Any]:
    """The origin of a run that started from nothing."""
    name = f"{config.model.name}, trained from scratch on {config.data.name}"
    return {"name": name, "publisher": "whoever trained it with querypose_jax", "page": "", "terms": "theirs to say"}


def read_metadata(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """What an export of ours says of its origin inside the file; None for any other file."""
    try:
        found = json.loads(metadata.get(METADATA, "null"))
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def in_words(origin: Mapping[str, Any], begin: str = "origin") -> str:
    """One line: what the weights are, whose, and under which terms."""
    page = f" ({origin['page']})" if origin.get("page") else ""
    checksum = f", sha256 {origin['sha256'][:16]}..." if origin.get("sha256") else ""
    file = f", file {origin['file']}{checksum}" if origin.get("file") else ""
    return f"{begin}: {origin.get('name', UNKNOWN)}, by {origin.get('publisher', UNKNOWN)}{page}{file}; " \
        f"terms: {origin.get('terms', UNKNOWN)}"  # fmt: skip
