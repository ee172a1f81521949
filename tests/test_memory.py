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
