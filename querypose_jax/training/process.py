"""What training, evaluation, prediction and the benchmarks do to their process before anything else."""

from kernels.assignment.callback import give_callbacks_a_thread
from querypose_jax.memory import keep_memory
from querypose_jax.training.disk import ignore_closed_event_loops


def prepare_process() -> None:
    """Call it once, before the first array: keeps freed memory, gives callbacks a thread, hushes failed saves."""
    keep_memory()
    give_callbacks_a_thread()
    ignore_closed_event_loops()
