"""What visitors of the served page can cost at most: connections, seconds, and bytes that are held for them."""

import io
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_WR, socket
from typing import Any

MOST_CONNECTIONS = 256  # each is a thread
WAITING = 128  # connections that the system keeps until they are looked at
IDLE_S = 30.0  # after which a connection that sends nothing is closed
REQUEST_S = 300.0  # for a whole request: whoever sends a byte now and then is closed too
LINGER_S = 30.0  # in which a refused request may still be sent to its end
PIECE = 2**16  # bytes
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Held:
    """Counts the bytes of all uploads that are in memory at a time."""

    def __init__(self, most: int):
        self.most, self.count = most, 0
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """False, and nothing taken, where that would be more than `most`."""
        with self._lock:
            fits = self.count + count <= self.most
            self.count += count if fits else 0
            return fits

    def give_back(self, count: int) -> None:
        with self._lock:
            self.count -= count


class LimitedServer(ThreadingHTTPServer):
    """A thread for each connection, up to MOST_CONNECTIONS; whoever comes then is sent away."""

    request_queue_size = WAITING

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], most_held: int):
        """`most_held`: bytes of uploads in memory at a time."""
        super().__init__(address, handler)
        self.held = Held(most_held)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            return super().process_request(request, client_address)
        with suppress(OSError):
            request.sendall(BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a visitor who has left."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class TimedReader(io.RawIOBase):
    """What a connection sends, until a deadline."""

    def __init__(self, connection: socket):
        self.connection, self.deadline = connection, 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As that of a file; TimeoutError after the deadline, or IDLE_S without a byte."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self.connection.settimeout(min(IDLE_S, left))
        return self.connection.recv_into(buffer)


class LimitedHandler(BaseHTTPRequestHandler):
    """Requests that must be sent to their end in REQUEST_S."""

    server: LimitedServer
    timeout = IDLE_S

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._reader = TimedReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self._reader.deadline = time.monotonic() + REQUEST_S
        super().handle_one_request()

    def drain(self) -> None:
        """Reads what is still coming and forgets it: a connection that is closed before takes the answer with it."""
        with suppress(OSError):
            self.connection.shutdown(SHUT_WR)
            self._reader.deadline = time.monotonic() + LINGER_S
            while self.rfile.read1(PIECE):
                pass
