"""Damaged requests to the served page: each must get an answer that is whole, with the headers of all answers."""

import json
import random
import socket
import threading
import traceback
from functools import cache
from pathlib import Path

from querypose_jax.errors import UserError
from querypose_jax.inference.serving import HEADERS, LARGEST_UPLOAD, make_server
from querypose_jax.inference.visitors import LimitedServer
from scripts.fuzzing.answers import picture
from scripts.fuzzing.damage import damaged
from tests.inference.conftest import red_predictor

METHODS = ("GET", "POST", "POST", "HEAD", "PUT", "OPTIONS", "get", "", "\x1b[2J", "x" * 300)
TARGETS = (
    "/", "/about", "/page.js", "/predict", "/predict?threshold=0.5", "/predict?view=stages", "/predict?threshold=nan",
    "/predict?threshold=1e999", "/predict?threshold=" + "9" * 5000, "/predict?view=%1b%5b2J%0a",
    "/predict?" + "a&" * 3000, "/../etc/passwd", "//[", "http://[/predict", "http://x/", "*", "/%00", "/é",
    "/" + "x" * 70_000, "",
)  # fmt: skip
VERSIONS = (
    "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/x", "HTTP/" + "9" * 50 + ".1", "RTSP/1.0", "", "\x1b[2J",
)  # fmt: skip
FIELDS = (
    "Content-Length: -1", "Content-Length: " + "9" * 5000, f"Content-Length: {LARGEST_UPLOAD + 1}",
    "Content-Length: x", "Content-Length: ٣", "Content-Length: 0", "Content-Length: 1000",
    "Transfer-Encoding: chunked", "Host: [", "Host: evil.example", "Host:", "Host: \x1b[2J", "Origin: http://[",
    "Origin: null", "Origin: http://evil.example", "Expect: 100-continue", "Connection: keep-alive",
    "Connection: Upgrade", "no field", ": x", " folded: x", "X: " + "x" * 70_000, "Cookie: \x00",
)  # fmt: skip
STATUSES = {200, 400, 403, 404, 413, 414, 431, 501, 503, 505}
PATIENCE_S = 60  # on a busy machine
LONGEST_TOLD = 1000  # characters


def requests(rng: random.Random) -> bytes:
    """One request, sound or not, with what comes behind it."""
    method, target, version = "POST", "/predict?threshold=0.5", "HTTP/1.1"
    if rng.random() < 0.5:
        method, target, version = rng.choice(METHODS), rng.choice(TARGETS), rng.choice(VERSIONS)
    body = picture(rng.choice(("JPEG", "PNG", "GIF", "BMP"))) if method == "POST" or rng.random() < 0.2 else b""
    if rng.random() < 0.4:
        body = damaged(body, rng)
    fields = ["Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    for _ in range(rng.choice((0, 0, 1, 3, 150))):
        fields.insert(rng.randrange(len(fields) + 1), rng.choice(FIELDS))
    head = "\r\n".join([f"{method} {target} {version}", *fields]).encode()
    whole = head + rng.choice((b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"")) + body
    return (
        damaged(whole, rng) if rng.random() < 0.3 else whole[: rng.choice((None, None, rng.randrange(len(whole) + 1)))]
    )


@cache
def server() -> tuple[LimitedServer, list[str]]:
    """The page of this process, and what went wrong inside of it."""
    page = make_server(red_predictor(), port=0)
    errors: list[str] = []
    page.handle_error = lambda *told: errors.append(traceback.format_exc(limit=-3))  # type: ignore[method-assign]
    threading.Thread(target=page.serve_forever, daemon=True).start()
    return page, errors


def use_request(content: bytes, folder: Path, rng: random.Random) -> None:
    """Sends it, says that nothing more comes, and judges the first answer."""
    page, errors = server()
    errors.clear()
    answer = ask(page.server_port, content)
    assert not errors, errors[0]
    judge(content, answer)


def ask(port: int, content: bytes) -> bytes:
    """All that comes back."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # closed already: what came back may still be read
            pass
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    return answer


def judge(content: bytes, answer: bytes) -> None:
    """UserError for a clean refusal; AssertionError for what is neither that nor an answer."""
    first, ends = content.lstrip(b"\r\n").partition(b"\n")[0], (b"\r\n\r\n", b"\n\n", b"\n\r\n")
    if not answer:
        assert not first.strip() or not any(end in content for end in ends) or content[:1] in b"\r\n", "no answer"
        raise UserError("closed: there is no whole request")
    if answer.startswith(b"HTTP/1.1 100 "):
        answer = answer.partition(b"\r\n\r\n")[2]
    if not answer.startswith(b"HTTP/1.1 "):  # HTTP 0.9 has no head
        assert answer.startswith((b"<!doctype", b"{", b"\n")), answer[:100]
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status, fields = int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:])
    assert status in STATUSES, lines[0]
    assert fields.items() >= HEADERS.items(), fields
    assert content.startswith(b"HEAD") or len(body) >= int(fields["Content-Length"]), "cut short"
    if status != 200:
        told = json.loads(body[: int(fields["Content-Length"])] or b'{"error": "HEAD"}')["error"]
        assert told.isprintable() and len(told) < LONGEST_TOLD, told
        raise UserError(told)
