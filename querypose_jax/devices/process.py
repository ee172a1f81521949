"""What training, evaluation, prediction and the benchmarks do to their process before anything else."""

import sys
from typing import Any

import jax

from kernels.assignment.callback import give_callbacks_a_thread
from querypose_jax.files import cache_folder
from querypose_jax.memory import keep_memory


def prepare_process() -> None:
    """Call it once, before the first array: keeps freed memory, gives callbacks a thread, hushes failed saves."""
    keep_memory()
    give_callbacks_a_thread()
    ignore_closed_event_loops()


def keep_programs() -> None:
    """Compiled programs are kept on disk and read back by the next start, unless jax was told where itself.

    Programs with a host callback (matching.solver=callback) cannot be kept; jax compiles those every time.
    """
    config: Any = jax.config  # whose names are not typed
    if not config.jax_compilation_cache_dir:
        config.update("jax_compilation_cache_dir", str(cache_folder()))


def ignore_closed_event_loops() -> None:
    """For programs that save. When a save fails, threads of tensorstore call event loops that orbax 0.12 has closed.

    Each would print a traceback around the one line that tells what happened.
    """
    usual = sys.unraisablehook

    def hook(unraisable) -> None:
        if unraisable.exc_type is not RuntimeError or str(unraisable.exc_value) != "Event loop is closed":
            usual(unraisable)

    sys.unraisablehook = hook
