"""One run on several machines: when processes join, and how the end of one is told to the user of another."""

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from querypose_jax.devices.preemption import Stopped
from querypose_jax.errors import UserError

GOOGLE = "0x1ae0"  # the PCI vendor of TPU chips
JOIN_S = 300  # seconds that processes wait for each other at the start
LEAVE_S = 1800  # and at the end: process 0 may still be drawing; one that dies is noticed by its heartbeat
PEER_LOST = 4  # exit code
LOST_SIGNS = ("gloo", "heartbeat", "coordination", "connection", "unavailable", "peer", "nccl", "deadline", "socket")


def join(coordinator: str | None, process_id: int | None, num_processes: int | None, heartbeat_s: int) -> None:
    """Joins the processes of a run, where there are several. Before the first computation.

    They are told by --coordinator, --process_id and --num_processes, or found by JAX where they are started by srun
    with more than one task, or on a TPU VM. num_processes=1 says that this process is alone wherever it runs.

    Args:
        coordinator: HOST:PORT of process 0.
        process_id: of this process, from 0.
        num_processes: of the run.
        heartbeat_s: seconds after which a silent process counts as dead, and the others end.

    Raises:
        UserError: some of the three without the others, or the others did not come.
    """
    told = (coordinator, process_id, num_processes)
    if num_processes == 1 and coordinator is None and process_id is None:
        return
    if any(value is not None for value in told):
        check_told(coordinator, process_id, num_processes)
    elif not (is_slurm_step() or is_tpu_vm()):
        return
    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=JOIN_S,
            heartbeat_timeout_seconds=heartbeat_s,
            shutdown_timeout_seconds=LEAVE_S,
        )
    except (RuntimeError, ValueError) as error:
        where = f" at {coordinator}" if coordinator else ""
        raise UserError(f"the processes of this run did not find each other{where}: {first_line(error)}") from None
    compile_alike()


def compile_alike() -> None:
    """Processes on CPUs keep no compiled programs.

    Process 0 alone writes them, under a name that on CPUs is its own. The next time it would be there long before the
    others, who compile, and takes them for lost after 30 seconds (gloo).
    """
    if jax.process_count() > 1 and jax.default_backend() == "cpu":
        jax.config.update("jax_enable_compilation_cache", False)


def check_told(coordinator: str | None, process_id: int | None, num_processes: int | None) -> None:
    """Raises UserError unless the three flags are there and fit each other."""
    if None in (coordinator, process_id, num_processes):
        raise UserError("command line: --coordinator, --process_id and --num_processes belong together")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"command line: --coordinator={coordinator} is not HOST:PORT")
    if not 0 <= process_id < num_processes:
        raise UserError(f"command line: --process_id={process_id} is not in 0..{num_processes - 1}")


def process_share() -> dict[str, int]:
    """Which part of every batch this process reads, as the input pipeline takes it."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def is_slurm_step() -> bool:
    """Started by srun as one of several tasks; what only runs inside an allocation is alone."""
    return "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def is_tpu_vm() -> bool:
    """TPU chips are on this machine's bus, and JAX can use them."""
    if importlib.util.find_spec("libtpu") is None or os.environ.get("JAX_PLATFORMS", "tpu").split(",")[0] != "tpu":
        return False
    return any(path.read_text().strip() == GOOGLE for path in Path("/sys/bus/pci/devices").glob("*/vendor"))


def is_lost_peer(error: Exception) -> bool:
    """Whether an error of the devices says that another process is gone."""
    text = str(error).lower()
    return isinstance(error, jax.errors.JaxRuntimeError) and any(sign in text for sign in LOST_SIGNS)


@contextmanager
def together() -> Iterator[None]:
    """Work that all processes do in step. What fails in one ends it at once, with its message, and so the others.

    Leaving in order would wait for processes that wait for this one. Alone, errors go their usual way; so does
    preemption.Stopped, which all processes raise alike.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1 or isinstance(error, Stopped):
            raise
        if isinstance(error, UserError):
            _end(f"error: {error}", getattr(error, "exit_code", 2))
        elif is_lost_peer(error):
            _end(
                f"error: process {jax.process_index()} lost another process of the run ({first_line(error)}); look at "
                "its output, then start all again: they continue from the last checkpoint",
                PEER_LOST,
            )
        else:
            _end(traceback.format_exc(), 1)


def _end(message: str, code: int) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(code)


def first_line(error: Exception) -> str:
    """The first line of an error, 200 characters of it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
