"""One command at a time writes results into a folder: two would mix their files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from querypose_jax.errors import UserError


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Use around everything that writes results into `folder`, which is made if needed.

    The folder itself is locked, so that no file is left behind; the system lets go when the process ends, however it
    ends. Where there are no such locks (Windows, some network disks) nothing is held.

    Raises:
        UserError: another command writes there.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # what writes there says it better
        yield
        return
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)
        if is_new:
            with suppress(OSError):  # there are results
                folder.rmdir()


def _lock(handle: int, folder: Path) -> None:
    import fcntl  # not on Windows, where no folder can be opened

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = "another command writes its results there; wait for it or name another output"
        raise UserError(f"{folder} is in use: {said}") from None
    except OSError:
        return
