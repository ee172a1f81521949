"""SIGTERM: a machine is about to be taken away. The run saves, and ends as if it had been planned.

One process listens itself. Of several, any may be told, and all must stop at the same step: JAX's coordination service
listens in each of them and agrees on that step, see jax.experimental.multihost_utils.reached_preemption_sync_point.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils

TOO_LATE = 143  # exit code of a process that SIGTERM ended: 128 + 15

Stop = Callable[[], bool]


class Stopped(Exception):
    """Work that loses nothing was left because of SIGTERM."""


def never() -> bool:
    """A `Stop` that nobody gives."""
    return False


@contextmanager
def listen(grace_s: float) -> Iterator[Stop]:
    """Gives `stop()`, true once SIGTERM has come. In several processes each must call it equally often.

    Args:
        grace_s: seconds from the notice on in which the context must end; then the process ends with a line on stderr
            and exit code 143, and what was saved before counts. The notice is taken between two operations of the
            devices, so not while a program is being compiled.
    """
    several = jax.process_count() > 1
    timer = threading.Timer(grace_s, _too_late, (grace_s,))
    timer.daemon = True
    told = threading.Event()
    calls = 0

    def note(*_) -> None:
        if not told.is_set():
            told.set()
            timer.start()

    def stop() -> bool:
        nonlocal calls
        calls += 1
        if several and multihost_utils.reached_preemption_sync_point(calls):
            note()
        return told.is_set()

    # With several processes the service has its own handler, which one of Python's would displace.
    before = None if several else signal.signal(signal.SIGTERM, note)
    try:
        yield stop
    finally:
        timer.cancel()
        if not several:
            signal.signal(signal.SIGTERM, before)


def stop_between(stop: Stop, iterator: Iterator) -> Iterator:
    """The items of an iterator; raises Stopped in front of one where `stop()` says so."""
    for item in iterator:
        if stop():
            raise Stopped
        yield item


def _too_late(grace_s: float) -> None:
    print(
        f"error: SIGTERM came, and {grace_s:g} s (train.grace_s) were not enough to save; the last checkpoint counts",
        file=sys.stderr,
        flush=True,
    )
    os._exit(TOO_LATE)
