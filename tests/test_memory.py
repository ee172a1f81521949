"""Freed memory stays with the process that asked for that."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from querypose_jax.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(30_000_000)
before = faults()
for _ in range(5):
    np.ones(30_000_000)  # 240 MB
print(faults() - before)
"""


def page_faults(way: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is meant")
def test_large_blocks_are_used_again_without_new_pages():
    assert page_faults("keep") < page_faults("as it is") / 10


RELEASE = """
import sys
import numpy as np
from querypose_jax.memory import keep_memory, release_memory
def held():
    return int(open("/proc/self/status").read().partition("VmRSS:")[2].split()[0])
keep_memory()
block, above = np.ones(30_000_000), np.ones(1000)  # `above` lies on top: freed memory below it cannot be cut off
before = held()
del block
kept = held()
release_memory()
print(before - kept, before - held())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is meant")
def test_free_memory_is_given_back_when_asked_for():
    done = subprocess.run([sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True)
    kept, released = map(int, done.stdout.split())  # KiB that went with the block, and after asking
    assert kept < 1000 < 200_000 < released


THREADS = """
import ctypes, threading
import numpy as np
from querypose_jax.memory import Mallinfo, blocks_in_use, keep_memory
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo
keep_memory()
def work():
    before = blocks_in_use()
    block = np.ones(30_000_000)
    print(libc.mallinfo2().hblkhd, blocks_in_use() - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is meant")
def test_threads_take_large_blocks_from_the_same_heap():
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    mapped, used = map(int, done.stdout.split())
    assert mapped < 30_000_000 * 8, "mapped: the system clears these pages again each time"
    assert 0 <= used - 30_000_000 * 8 < 2**20
