"""A candidate in a process of its own.

Two frameworks in one process share its heap, on a GPU its memory too, and each finds the holes that the other left: a
training step of ours takes a quarter longer beside the peer's. Nobody trains like that, so the peer lives elsewhere.
"""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection

from querypose_jax.errors import UserError

DIED = "the process of the peer has died, see above; too little memory?"


class OwnProcess:
    """Calls `make(*arguments)(*asked)` there and returns its result; the caller sleeps meanwhile.

    Raises:
        UserError: the process has died; its own words are on stderr.
    """

    def __init__(self, make: Callable[..., Callable[..., object]], *arguments: object):
        context = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self, *asked: object) -> object:
        self.begin(*asked)
        return self.result()

    def begin(self, *asked: object) -> None:
        """Lets it start; `result` waits for the end."""
        try:
            self._pipe.send(asked)
        except ConnectionError:
            raise UserError(DIED) from None

    def result(self, timeout_s: float | None = None) -> object:
        """Of the call that was begun.

        Raises:
            TimeoutError: it is not there in time; the process is ended.
        """
        try:
            if not self._pipe.poll(timeout_s):
                self._process.kill()
                raise TimeoutError(f"not done after {timeout_s:.0f} s")
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            raise UserError(DIED) from None

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()


def serve(pipe: Connection, make: Callable[..., Callable[..., object]], arguments: tuple) -> None:
    """Runs once for each message until the other end is closed."""
    run = make(*arguments)
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        pipe.send(run(*asked))
