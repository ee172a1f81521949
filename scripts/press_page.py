"""Presses the served page: many visitors at once, slow ones, and uploads that are too large; its memory must stay flat.

    python scripts/press_page.py [--visitors=200] [--rounds=4] [--slow_s=20]

The page is served by a process of its own, with a model that finds red rectangles. A round is

    many        so many pictures at the same time, and as many files that are none
    too large   so many uploads of 1 byte over the limit, each of which must be read the reason
    largest     so many uploads of the largest size, of which MOST_HELD bytes are taken at a time
    slow        so many visitors who send a byte a second, while pictures are answered beside them
    idle        more connections than there may be

Every request must be answered or refused in words. Prints statuses, seconds, and the server's memory, threads and open
files after each part. Exit code 1 where something was not answered, or the last round holds more memory than the second
by GROWTH.
"""

import argparse
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from querypose_jax.inference.serving import LARGEST_UPLOAD, make_server  # noqa: E402
from querypose_jax.inference.visitors import MOST_CONNECTIONS  # noqa: E402

GROWTH = 0.05  # of the server's memory
PATIENCE_S = 600  # of a visitor, on a busy machine
SMALL = 50  # pictures that are answered beside the slow visitors


class Load(NamedTuple):
    """Of the server's process."""

    mib: float
    most: float
    """MiB so far."""
    threads: int
    files: int


def load_of(process: int) -> Load:
    """What /proc says now."""
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    files = len(os.listdir(f"/proc/{process}/fd"))
    mib, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Load(mib, most, int(fields["Threads"]), files)


def post(port: int, size: int, content: bytes) -> str:
    """The status of the answer to an upload that is announced with this size; what went wrong where there is none."""
    head = f"POST /predict?threshold=0.5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
            with suppress(ConnectionError):  # refused in the middle: the answer may still be read
                connection.sendall(head)
                connection.sendall(content)
            while piece := connection.recv(65536):
                answer += piece
    except OSError as error:
        if not answer:
            return f"no answer ({type(error).__name__})"
    return answer.split(b" ", 2)[1].decode() if answer else "no answer"


def at_once(visitors: int, visit: Callable[[int], str]) -> Counter[str]:
    """Statuses of so many visits that begin together."""
    together = threading.Barrier(visitors)

    def one(number: int) -> str:
        together.wait()
        return visit(number)

    with ThreadPoolExecutor(visitors) as pool:
        return Counter(pool.map(one, range(visitors)))


def slow(port: int, visitors: int, picture: bytes, seconds: float) -> Counter[str]:
    """Statuses of pictures that are asked for while others send a byte a second; nobody waits for those."""
    with ExitStack() as stack:
        waiting = []
        for number in range(visitors):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + b"Content-Length: 9999\r\n\r\n" * (number % 2)
            )
            waiting.append(connection)
        until, found = time.monotonic() + seconds, Counter[str]()
        while time.monotonic() < until or found.total() < SMALL:
            found[post(port, len(picture), picture)] += 1
            for connection in waiting if time.monotonic() < until else ():
                connection.sendall(b"x")
    return found


def idle(port: int) -> Counter[str]:
    """How many of too many connections stay open."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
            for _ in range(MOST_CONNECTIONS + 50)
        ]
        time.sleep(2)
        found = Counter[str]()
        for connection in connections:
            connection.setblocking(False)
            try:
                found[connection.recv(100).split(b" ", 2)[1].decode()] += 1
            except BlockingIOError:
                found["open"] += 1
            except (OSError, IndexError):
                found["no answer"] += 1
    return found


def press(port: int, process: int, visitors: int, slow_s: float) -> tuple[bool, float]:
    """A round; whether everybody had an answer, and the memory held in the end."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    Image.fromarray(noise).resize((640, 480)).save(file, "JPEG")
    picture, none, largest = file.getvalue(), b"none", bytes(LARGEST_UPLOAD)
    parts: dict[str, tuple[Callable[[], Counter[str]], set[str]]] = {
        "many": (lambda: at_once(visitors, lambda _: post(port, len(picture), picture)), {"200"}),
        "no pictures": (lambda: at_once(visitors, lambda _: post(port, len(none), none)), {"400"}),
        "too large": (lambda: at_once(visitors, lambda _: post(port, LARGEST_UPLOAD + 1, largest)), {"413"}),
        "largest": (lambda: at_once(visitors, lambda _: post(port, LARGEST_UPLOAD, largest)), {"400", "503"}),
        "slow": (lambda: slow(port, visitors, picture, slow_s), {"200"}),
        "idle": (lambda: idle(port), {"open", "503"}),
    }
    is_good = True
    for name, (part, expected) in parts.items():
        began = time.monotonic()
        found = part()
        seconds = time.monotonic() - began
        time.sleep(1)
        load = load_of(process)
        is_good &= found.keys() <= expected
        said = ", ".join(f"{count} {status}" for status, count in sorted(found.items()))
        memory = f"{load.mib:.0f} MiB, {load.most:.0f} at most"
        print(f"{name}: {said}; {seconds:.1f} s; {memory}, {load.threads} threads, {load.files} files", flush=True)
    return is_good, load.mib


def serve() -> None:
    """The process that is pressed; prints its port."""
    from querypose_jax.devices.process import prepare_process
    from tests.inference.conftest import red_predictor

    prepare_process()  # as the command line does
    server = make_server(red_predictor(), port=0)
    print(server.server_port, flush=True)
    server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--slow_s", type=float, default=20.0)
    parser.add_argument("--serve", action="store_true", help="be the page")
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            port = int(server.stdout.readline())
            rounds = []
            for number in range(options.rounds):
                print(f"round {number + 1}", flush=True)
                rounds.append(press(port, server.pid, options.visitors, options.slow_s))
        finally:
            server.kill()
    held = [mib for _, mib in rounds]
    grown = held[-1] > held[min(1, len(held) - 1)] * (1 + GROWTH)
    print("held after each round: " + ", ".join(f"{mib:.0f}" for mib in held) + " MiB" + (": it grows" * grown))
    return int(grown or not all(good for good, _ in rounds))


if __name__ == "__main__":
    sys.exit(main())
