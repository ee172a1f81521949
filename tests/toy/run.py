"""launch.py with one family more: python -m tests.toy.run ... Set SLOW to a number of seconds to wait at every step."""

import os
import sys
import time

import launch
from querypose_jax.training import loop
from tests.toy import family  # noqa: F401  registers itself

if __name__ == "__main__":
    if seconds := float(os.environ.get("SLOW", 0)):
        next_batch = loop.next_batch

        def slowly(*arguments):
            time.sleep(seconds)
            return next_batch(*arguments)

        loop.next_batch = slowly
    sys.exit(launch.main(sys.argv))
