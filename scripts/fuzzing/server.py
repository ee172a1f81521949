"""A server on this machine that answers what a fuzzer has made."""

import socket
import threading
from contextlib import suppress


class Server(threading.Thread):
    """Talks to one connection after the other, each in the way of `talk`, and closes them."""

    timeout_s: float
    """How long it waits for whoever asks."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.host = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            with connection:
                connection.settimeout(self.timeout_s)
                with suppress(OSError):  # whoever asked has left, or waits for nothing
                    self.talk(connection)

    def talk(self, connection: socket.socket) -> None:
        """One connection to its end."""
        raise NotImplementedError
