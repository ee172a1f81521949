"""A candidate in a process of its own: another process, kept between calls, whose death is one line."""

import os
from collections.abc import Callable

import pytest

from querypose_jax.bench.own_process import OwnProcess
from querypose_jax.errors import UserError


def counter(begin: int) -> Callable[[], tuple[int, int]]:
    count = [begin]

    def run() -> tuple[int, int]:
        count[0] += 1
        return os.getpid(), count[0]

    return run


def dying() -> Callable[[], None]:
    return lambda: os._exit(1)


def test_calls_go_to_one_other_process():
    run = OwnProcess(counter, 5)
    (first, six), (second, seven) = run(), run()
    assert first == second != os.getpid()
    assert (six, seven) == (6, 7)


def test_a_dead_process_is_one_line():
    run = OwnProcess(dying)
    with pytest.raises(UserError, match="the process of the peer has died"):
        run()
    with pytest.raises(UserError, match="the process of the peer has died"):
        run()
