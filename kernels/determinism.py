"""Whether gradients shall be the same to the bit in every run of a program on a GPU.

    XLA_FLAGS=--xla_gpu_deterministic_ops=true python launch.py ...

is XLA's own option for its convolutions, products and scatters. The CUDA kernels here obey it too: one option for all.
It is read when a program is traced, as XLA reads it when a program is compiled.
"""

import os

OPTIONS = ("--xla_gpu_deterministic_ops", "--xla_gpu_exclude_nondeterministic_ops")


def wants_determinism() -> bool:
    """True where XLA_FLAGS switches one of OPTIONS on; of several mentions of an option the last counts."""
    values = dict.fromkeys(OPTIONS, "false")
    for flag in os.environ.get("XLA_FLAGS", "").split():
        name, _, value = flag.partition("=")
        if name in values:
            values[name] = value or "true"
    return any(value.lower() in ("true", "1") for value in values.values())
