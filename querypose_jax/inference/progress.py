"""What a long command has done so far, in a file that the same command goes on from."""

import json
from pathlib import Path
from typing import Any

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file

JSON = dict[str, Any]


class Progress:
    """A file of JSON Lines: the first says of what command it is, each other one holds something done.

    It begins with the first entry, every entry is on disk when `add` returns, and it goes once all is done. A line
    that was cut off (the machine failed while it was written) counts as not done.
    """

    def __init__(self, path: Path, command: JSON):
        """
        Args:
            path: the file, which may be there from an earlier start.
            command: what decides the results; those of another command are never mixed in.

        Raises:
            UserError: the file is there and of another command, or no such file.
        """
        self.path, self.command = path, command
        self.earlier = self._read()
        self._file: Any = None

    def add(self, entry: JSON) -> None:
        """One more thing is done."""
        if self._file is None:
            with whole_file(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in ({"of": self.command}, *self.earlier))
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Leaves the file for the next start."""
        if self._file is not None:
            self._file.close()

    def remove(self) -> None:
        """All is done."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _read(self) -> list[JSON]:
        try:
            first, *rest = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        entries = [entry for entry in map(parsed, rest) if entry]
        return entries if is_of(self.path, first, self.command, bool(entries)) else []


def is_of(path: Path, first: bytes, command: JSON, has_more: bool = True, renewed_by: str = "") -> bool:
    """Whether the file of an unfinished command is of this one, by its first line; False: begin anew.

    Args:
        path: the file.
        first: its first line.
        command: this one.
        has_more: without, there is nothing to lose.
        renewed_by: the key of a command whose change makes what was done worthless.

    Raises:
        UserError: the file is of another command, or no such file.
    """
    begun = (parsed(first) or {}).get("of")
    if not isinstance(begun, dict):
        raise UserError(f"{path}: is not what an unfinished command leaves; remove it or name another output")
    differing = [key for key in {**begun, **command} if begun.get(key) != command.get(key)]
    keys = [key for key in differing if key != renewed_by]
    if has_more and keys:
        shown = ", ".join(f"{key} is {begun.get(key)!r} there and {command.get(key)!r} here" for key in keys)
        remedy = "finish that one, remove the file or name another output"
        raise UserError(f"{path} holds the unfinished work of another command ({shown}); {remedy}")
    return not differing


def parsed(line: bytes) -> JSON | None:
    """A line of such a file; None where it is cut off, or empty."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def file_state(path: Path) -> JSON:
    """What tells that a file is still the one it was: name, size in bytes and time of its last change (ns)."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # reading it will tell
        return {"file_name": str(path)}
    return {"file_name": str(path), "size": found.st_size, "changed": found.st_mtime_ns}
