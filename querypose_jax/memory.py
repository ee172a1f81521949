"""Memory that a process keeps instead of giving it back to the system after every step."""

import ctypes
import sys

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = -1


def keep_memory() -> None:
    """What is freed stays with this process. For programs of long runs, before their first large array.

    XLA's CPU programs ask for their temporary memory, gigabytes for a full-size model, anew in every step, and glibc
    maps and unmaps it each time: the system then clears every page again. On another platform or C library nothing
    happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap as well
        mallopt(M_TRIM_THRESHOLD, NEVER)
