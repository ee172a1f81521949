"""Memory that a process keeps instead of giving it back to the system after every step, and what it gives back."""

import ctypes
import sys
from typing import Any

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = -1
MALLINFO = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


def keep_memory() -> None:
    """What is freed stays with this process. For programs of long runs, before their first large array.

    XLA's CPU programs ask for their temporary memory, gigabytes for a full-size model, anew in every step, and glibc
    maps and unmaps it each time: the system then clears every page again. On another platform or C library nothing
    happens.
    """
    if (mallopt := _function("mallopt")) is not None:
        mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap as well
        mallopt(M_TRIM_THRESHOLD, NEVER)
        mallopt(M_ARENA_MAX, 1)  # the heaps of other threads cannot hold large blocks, which would be mapped again


def release_memory() -> None:
    """Gives free memory back to the system once: after compiling, which needs gigabytes that no step needs again."""
    if (malloc_trim := _function("malloc_trim")) is not None:
        malloc_trim(0)


class Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [(name, ctypes.c_size_t) for name in MALLINFO]


def blocks_in_use() -> int:
    """Bytes that malloc has given out and not taken back; 0 where the C library does not tell (glibc 2.33 does)."""
    if (mallinfo := _function("mallinfo2")) is None:
        return 0
    mallinfo.restype = Mallinfo
    info = mallinfo()
    return info.uordblks + info.hblkhd


def _function(name: str) -> Any:
    """A function of the C library; None where it has none of this name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
