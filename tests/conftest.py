"""Set before anything imports jax or tensorflow: the tests compare numbers, on the CPU, quietly."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from kernels.assignment.callback import give_callbacks_a_thread

give_callbacks_a_thread()
