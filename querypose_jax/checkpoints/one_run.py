"""One run per folder: a second start would delete the first one's half-written checkpoint and mix their metrics."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from querypose_jax.checkpoints.disk import told_where
from querypose_jax.errors import UserError

NAME = "run.lock"


@contextmanager
def one_run(workdir: Path) -> Iterator[None]:
    """Use around everything that writes a run. The system lets go when the process ends, however it ends.

    Raises:
        UserError: another process trains in this folder, or nothing can be written there.
    """
    path = workdir / NAME
    with told_where(path, "mend or name another workdir"):
        workdir.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        lock(file, workdir)
        with told_where(path, "mend or name another workdir"):
            file.truncate(0)
            print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
        yield


def lock(file: TextIO, workdir: Path) -> None:
    """Takes the lock, or raises UserError with what its holder wrote; nothing is held where there are no locks.

    It belongs to the process alone (fcntl, not flock): no child that outlives a killed run keeps the next one out.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise UserError(f"{workdir} is in use: {holder} trains there; wait for it or name another workdir") from None
    except OSError:  # a file system without locks
        return
