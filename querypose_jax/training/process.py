"""What every program of this project does to its process before anything else."""

from kernels.assignment.callback import give_callbacks_a_thread
from querypose_jax.memory import keep_memory
from querypose_jax.training.disk import ignore_closed_event_loops


def prepare_process() -> None:
    """For programs of long runs, before their first array."""
    keep_memory()
    give_callbacks_a_thread()
    ignore_closed_event_loops()
