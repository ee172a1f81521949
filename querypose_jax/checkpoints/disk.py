"""Disks that are full or read-only: what the file system refuses is told in one line."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from querypose_jax.errors import UserError

SYSTEM_NUMBER = re.compile(r"os_error_code='(\d+)'")  # in the text of tensorstore's errors, which are ValueErrors


def refusal(error: Exception) -> str | None:
    """The system's reason where an error of writing came from it, e.g. "No space left on device"; else None."""
    found = SYSTEM_NUMBER.search(str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return None if number is None else os.strerror(number)


@contextmanager
def told_where(path: Path, hint: str) -> Iterator[None]:
    """Use around writing below `path`: a refusal of the system becomes a UserError with its reason and the hint."""
    try:
        yield
    except (OSError, ValueError) as error:
        if (reason := refusal(error)) is None:
            raise
        raise UserError(f"{path}: cannot be written ({reason}); {hint}") from None
