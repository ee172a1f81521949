"""Files that exist whole or not at all: written under a temporary name, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to; renames it at the end, removes it on any error.

    The folder of `path` is made where it does not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder() -> Path:
    """The user's folder for what can be made or fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "querypose_jax"


def write_text(path: Path, text: str) -> None:
    """Writes a text file (UTF-8)."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes `content` as JSON; raises ValueError on NaN or infinity, which JSON does not have."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent, allow_nan=False)
        file.write("\n")
