"""SIGTERM: a machine is about to be taken away. The run saves, and ends as if it had been planned.

Of several processes any may be told, and all must stop at the same step. So each sends along whether it was told, and
reads the answer of all two questions later, when it is there anyway. (JAX's own service, reached_preemption_sync_point,
cannot be used: orbax asks it too, from a thread, and each question of one spoils the count of the other.)
"""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

TOO_LATE = 143  # exit code of a process that SIGTERM ended: 128 + 15
QUESTIONS_AHEAD = 2  # questions that are under way

Stop = Callable[[], bool]


class Stopped(Exception):
    """Work that loses nothing was left because of SIGTERM."""


def never() -> bool:
    """A `Stop` that nobody gives."""
    return False


@contextmanager
def listen(grace_s: float, wish: Stop = never) -> Iterator[Stop]:
    """Gives `stop()`, true once SIGTERM has come or `wish()` is true. In several processes each must call it equally
    often. Only a process's main thread hears of SIGTERM: from another one, as of a notebook's widget, training goes on
    until it is killed.

    Args:
        grace_s: seconds from SIGTERM on in which the context must end; then the process ends with a line on stderr
            and exit code 143, and what was saved before counts. A signal is taken when Python comes to run, so not
            while a program is being compiled.
        wish: another reason to stop, of this process alone.
    """
    timer = threading.Timer(grace_s, _too_late, (grace_s,))
    timer.daemon = True
    told = threading.Event()

    def note(*_) -> None:
        if not told.is_set():
            told.set()
            timer.start()

    hears = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, note) if hears else None
    try:
        own = lambda: told.is_set() or wish()
        yield own if jax.process_count() == 1 else ask_all(own)
    finally:
        timer.cancel()
        if hears:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)  # None: not one of Python's


def ask_all(own: Stop) -> Stop:
    """`stop()` of this process -> `stop()` of all, the same answer in every process to each question."""
    mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(jax.sharding.AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("all"))
    any_of = jax.jit(jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec()))
    asked: deque[jax.Array] = deque()

    def stop() -> bool:
        mine = np.full(jax.local_device_count(), own())
        asked.append(any_of(jax.make_array_from_process_local_data(split, mine)))
        return len(asked) > QUESTIONS_AHEAD and bool(asked.popleft())

    return stop


def stop_between(stop: Stop, iterator: Iterator) -> Iterator:
    """The items of an iterator; raises Stopped in front of one where `stop()` says so."""
    for item in iterator:
        if stop():
            raise Stopped
        yield item


def _too_late(grace_s: float) -> None:
    print(
        f"error: SIGTERM came, and {grace_s:g} s (train.grace_s) were not enough to save; what was saved before stays",
        file=sys.stderr,
        flush=True,
    )
    os._exit(TOO_LATE)
