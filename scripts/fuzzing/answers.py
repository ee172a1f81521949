"""What a server answers to who asks it for a picture, damaged; and addresses that users may type."""

import io
import os
import random
import socket
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.addresses import fetch, is_address, is_stream, last_part, suffix_of, without_password
from querypose_jax.inference.sources import open_picture
from querypose_jax.inference.video import SUFFIXES
from scripts.fuzzing.damage import damaged
from scripts.fuzzing.server import Server

HOSTS = (
    "[", "[::1", "a:99999999", "a:-1", "a:x", "\x1b[2J", "a b", "é" * 70, "x" * 300, "@", "me:@", "", ".", "a\x00b",
    "xn--a",
)  # fmt: skip
PATHS = (
    "/a.jpg", "/", "", "/%00.jpg", "/\x1b[2J.jpg", "/..", "/a b", "/é.png", "?x=1", "#", "/" + "x" * 3000, "/a.m3u8",
    "\n",
)  # fmt: skip
STATUSES = (
    "200 OK", "200", "204 No Content", "206 Partial Content", "301 Moved", "302 Found", "304 Not Modified",
    "401 Unauthorized", "404 Not\x1b[2J Found", "500 " + "x" * 2000, "99 x", "999", "-1 x", "100 Continue", "x",
)  # fmt: skip
PLACES = (
    "/a.jpg", "//", "http://[", "http://127.0.0.1:99999999/", "file:///etc/hostname", "ftp://a/b", "\x1b[2J", "",
    "http://\x1b[2J/", "http://127.0.0.1:1/a.jpg", "http://" + "x" * 300 + ".invalid/",
)  # fmt: skip
FIELDS = (
    "Content-Length: 10", "Content-Length: -1", "Content-Length: x", "Content-Length: 1000000000000",
    "Transfer-Encoding: chunked", "Content-Encoding: gzip", "Content-Type: image/jpeg", "Content-Type: text/html",
    "Content-Type: \x1b[2J", "Content-Type: image/", "Content-Type: " + "x;" * 300, "X: " + "x" * 70_000, "no field",
    "WWW-Authenticate: Basic realm=\x1b[2J", "Set-Cookie: a=b", ": x", "Connection: keep-alive", "Refresh: 0",
)  # fmt: skip


class Asked(NamedTuple):
    """An address, and what the server at it answers to the first and to every later request."""

    address: str
    """With {host} where that of the server belongs."""
    answers: tuple[bytes, ...]


@cache
def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((60, 40), 50).convert("RGB").save(file, kind)
    return file.getvalue()


def answer(rng: random.Random) -> bytes:
    """Head and body; sound ones, ones that lie, and ones with damaged bytes."""
    body = picture(rng.choice(("JPEG", "PNG", "GIF", "BMP")))
    if rng.random() < 0.4:
        body = damaged(body, rng)
    fields = [f"Content-Length: {len(body)}", "Content-Type: image/jpeg"]
    if rng.random() < 0.2:
        size = rng.choice((f"{len(body):x}", "5", "-1", "x", "f" * 40, "0"))
        fields, body = ["Transfer-Encoding: chunked"], f"{size}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    for _ in range(rng.choice((0, 0, 1, 3, 200))):
        fields.insert(rng.randrange(len(fields) + 1), rng.choice(FIELDS))
    status = rng.choice(("200 OK", rng.choice(STATUSES)))
    if status[:1] == "3":
        fields.append(f"Location: {rng.choice(PLACES)}")
    head = "\r\n".join([f"HTTP/{rng.choice(('1.1', '1.1', '1.0', '9.9', ''))} {status}", *fields])
    whole = head.encode() + rng.choice((b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n")) + body
    return damaged(whole, rng) if rng.random() < 0.3 else whole[: rng.choice((None, None, rng.randrange(len(whole))))]


def questions(rng: random.Random) -> Asked:
    """Mostly sound addresses of the server."""
    address = "http://{host}" + rng.choice(("/a.jpg", "/a.jpg", "/a", "/a.mp4", "/a.jpg?x=y", rng.choice(PATHS)))
    if rng.random() < 0.1:
        scheme = rng.choice(("http", "https", "rtsp", "HTTP"))
        address = f"{scheme}://{rng.choice(('me:se:cret@{host}', rng.choice(HOSTS)))}{rng.choice(PATHS)}"
    return Asked(address, tuple(answer(rng) for _ in range(2)))


class AnsweringServer(Server):
    """Sends `answers` one after the other, whatever is asked."""

    timeout_s = 5
    answers: tuple[bytes, ...] = ()

    def talk(self, connection: socket.socket) -> None:
        connection.recv(65536)
        now, *later = self.answers
        self.answers = (*later, now)
        connection.sendall(now)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


@cache
def server() -> AnsweringServer:
    """The one of this process, which can reach nothing else from then on."""
    look_up = socket.getaddrinfo

    def here_only(host: Any, *more: Any, **named: Any) -> Any:
        if host != "127.0.0.1":
            raise socket.gaierror("only 127.0.0.1 is there")
        return look_up(host, *more, **named)

    socket.getaddrinfo = here_only
    os.environ["no_proxy"] = "*"
    return AnsweringServer()


def use_answer(asked: Asked, folder: Path, rng: random.Random) -> None:
    """Asks, as prediction does: a picture or a stream, and then its pixels."""
    server().answers = asked.answers
    address = asked.address.replace("{host}", server().host)
    if not is_address(address):
        raise UserError("no address")
    shown = without_password(address) + last_part(address) + suffix_of(address)
    assert "cret" not in shown
    if not is_stream(address, SUFFIXES):
        name, found = open_picture(address)
        assert found.mode == "RGB" and len(fetch(address)) >= 0 and name
