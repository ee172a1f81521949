"""A candidate in a process of its own.

Two frameworks in one process share its heap, on a GPU its memory too, and each finds the holes that the other left: a
training step of ours takes a quarter longer beside the peer's. Nobody trains like that, so the peer lives elsewhere.
"""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection

from querypose_jax.errors import UserError


class OwnProcess:
    """Calls `make(*arguments)()` there and returns its result; the caller sleeps meanwhile.

    Raises:
        UserError: the process has died; its own words are on stderr.
    """

    def __init__(self, make: Callable[..., Callable[[], object]], *arguments: object):
        context = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
        self._pipe, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, make, arguments), daemon=True)
        process.start()
        theirs.close()

    def __call__(self) -> object:
        try:
            self._pipe.send(None)
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            raise UserError("the process of the peer has died, see above; too little memory?") from None


def serve(pipe: Connection, make: Callable[..., Callable[[], object]], arguments: tuple) -> None:
    """Runs once for each message until the other end is closed."""
    run = make(*arguments)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(run())
