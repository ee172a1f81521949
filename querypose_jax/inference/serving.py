"""A web page that finds people on pictures dropped on it: Python's own HTTP server and three files of page.py.

Nothing a client sends names a file: it sends the bytes of a picture and gets JSON. Other sites that a browser has open
cannot ask it either: requests must name this host, and come from its own page.
"""

import base64
import io
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from querypose_jax.errors import UserError, one_line
from querypose_jax.inference.figures import draw_attention, draw_stages, explain_picture
from querypose_jax.inference.joint_figures import ExplainedJoints, draw_heatmap, draw_joining
from querypose_jax.inference.page import FILES
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.visitors import IDLE_S, PIECE, LimitedHandler, LimitedServer
from querypose_jax.memory import release_memory
from querypose_jax.models.registry import family_of
from querypose_jax.pictures import read_picture

LARGEST_UPLOAD = 20 * 2**20  # bytes of a picture
MOST_HELD = 8 * LARGEST_UPLOAD  # bytes of pictures that are sent or wait for their turn
LOOPBACK = ("127.0.0.1", "localhost")
MUCH = 2**20  # bytes of a picture
LONGEST_ERROR = 300  # characters
QUALITY = 90  # of the JPEGs that are sent back
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; "
    "media-src blob:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

View = Callable[[Image.Image, float], Image.Image]


def make_server(predictor: Predictor, host: str = "127.0.0.1", port: int = 8000) -> ThreadingHTTPServer:
    """A server that listens; `serve_forever` answers.

    Args:
        predictor: finds the people; one picture at a time.
        host: address to listen at. 127.0.0.1: this machine's own browsers only.
        port: 0 takes a free one.

    Raises:
        UserError: the address is none of this machine, or taken.
    """
    views = views_of(predictor)
    one_at_a_time = threading.Lock()

    def answer(content: bytearray, threshold: float, view: str) -> dict[str, Any]:
        with one_at_a_time:
            return found(predictor, views, bytes(content), threshold, view)

    class Handler(PageHandler):
        pass

    Handler.answer = staticmethod(answer)
    Handler.about = {
        "views": list(views),
        "joints": list(predictor.skeleton.names),
        "largest": LARGEST_UPLOAD,
    }
    Handler.hosts = LOOPBACK if host in LOOPBACK else None
    try:
        return LimitedServer((host, port), Handler, MOST_HELD)
    except (OSError, OverflowError) as error:
        raise UserError(f"{host}:{port}: cannot listen there ({error}); take another --port or --host") from None


def views_of(predictor: Predictor) -> dict[str, View]:
    """What can be looked at beside the poses: name -> (picture, threshold) -> figure."""
    if "model" not in predictor.config or family_of(predictor.config).explain is None:
        return {}

    def stages(picture: Image.Image, threshold: float) -> Image.Image:
        inside = explain_picture(predictor, picture, threshold)
        return draw_joining(inside) if isinstance(inside, ExplainedJoints) else draw_stages(inside)

    def attention(picture: Image.Image, threshold: float) -> Image.Image:
        inside = explain_picture(predictor, picture, threshold)
        if isinstance(inside, ExplainedJoints):  # a family that finds joints first
            return draw_heatmap(inside, predictor.skeleton.names[0])
        if not len(inside.stages[-1]):
            raise UserError("nobody is there to look at; lower the threshold")
        return draw_attention(inside)

    return {"stages": stages, "attention": attention}


def found(
    predictor: Predictor, views: Mapping[str, View], content: bytes, threshold: float, view: str
) -> dict[str, Any]:
    """The people of a picture (COCO results) and what is shown of it, a JPEG as a data address.

    Raises:
        UserError: no picture, no threshold, or no such view.
    """
    if view not in ("poses", *views):
        raise UserError(f"view {view!r} is unknown; known: {', '.join(('poses', *views))}")
    picture = read_picture(content, "this file")
    [prediction] = predictor.stream([picture], threshold)
    shown = prediction.draw() if view == "poses" else views[view](picture, threshold)
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=QUALITY)
    address = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return {"people": prediction.to_coco(), "picture": address}


class PageHandler(LimitedHandler):
    """GET: the page, its script, its style, what there is to see. POST /predict: a picture in, JSON out."""

    answer: Callable[[bytearray, float, str], dict[str, Any]]
    about: Mapping[str, Any]
    hosts: tuple[str, ...] | None
    """Names under which requests may come; None: any."""
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "querypose_jax", ""

    def do_GET(self) -> None:
        path, _ = path_and_query(self.path)
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what is not read must not be taken for the next request
        if not self.is_asked_by_its_own():
            self.send(403, {"error": "this address is for this machine's own browser"})
        elif path == "/about":
            self.send(200, self.about)
        elif path in FILES:
            self.send(200, FILES[path][1].encode(), FILES[path][0])
        else:
            self.send(404, {"error": "there is no such page"})

    def do_POST(self) -> None:
        (path, asked), length = path_and_query(self.path), self.headers.get("Content-Length", "")
        is_size = length.isascii() and length.isdecimal() and len(length) <= len(str(LARGEST_UPLOAD))
        self.close_connection = True  # as above
        if not self.is_asked_by_its_own():
            return self.refuse(403, "this address is for this machine's own browser")
        if path != "/predict":
            return self.refuse(404, "there is no such page")
        if not is_size or int(length) > LARGEST_UPLOAD:
            return self.refuse(413, f"send one picture of at most {LARGEST_UPLOAD // 2**20} MiB")
        self.predict(int(length), asked.get("threshold", ["0.3"])[0], asked.get("view", ["poses"])[0])

    def predict(self, length: int, threshold: str, view: str) -> None:
        """Reads a picture of so many bytes and answers with its people."""
        content, held = bytearray(), self.server.held
        try:
            while len(content) < length and (piece := self.rfile.read1(min(PIECE, length - len(content)))):
                if not held.take(len(piece)):
                    return self.refuse(503, "too many pictures come at the same time; try again")
                content += piece
            if len(content) < length:
                return self.send(400, {"error": f"the picture broke off after {len(content)} of {length} bytes"})
            self.send(200, self.answer(content, float(threshold), view))
        except (UserError, ValueError) as error:
            self.send(400, {"error": one_line(error, LONGEST_ERROR)})
        except OSError:  # of the connection
            raise
        except Exception:
            self.send(500, {"error": "the picture could not be looked at; the server's terminal says why"})
            raise
        finally:
            held.give_back(len(content))
            if len(content) > MUCH:
                del content
                release_memory()  # which malloc would keep

    def is_asked_by_its_own(self) -> bool:
        """Whether the browser was sent here by name, and by this very page: another site's cannot read a picture's
        people, nor keep the processor busy, also where its own name leads to this machine."""
        try:
            asked = urlsplit(f"//{self.headers.get('Host', '')}")
            origin = self.headers.get("Origin")
            is_name = self.hosts is None or asked.hostname in self.hosts
            return is_name and (origin is None or urlsplit(origin).netloc == asked.netloc)
        except ValueError:  # no name of a host
            return False

    def send(self, status: int, content: Any, kind: str = "application/json") -> None:
        """An answer with the headers that every one has."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.connection.settimeout(IDLE_S)
        self.send_response(status)
        closing = {"Connection": "close"} if self.close_connection else {}
        length = {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in (HEADERS | length | closing).items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # a browser that no longer waits
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

    def refuse(self, status: int, why: str) -> None:
        """An answer to a request that is not read to its end."""
        self.close_connection = True
        self.send(status, {"error": why})
        self.drain()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What Python's server says of a request that is none."""
        self.request_version = self.protocol_version  # to those of before 1.0 it would send no head
        self.refuse(code, one_line(message or HTTPStatus(code).phrase))

    def log_message(self, *told: Any) -> None:
        """Says nothing: requests are the user's own."""


def path_and_query(address: str) -> tuple[str, dict[str, list[str]]]:
    """/predict and {"view": ["poses"]} of /predict?view=poses; nothing of what is no address."""
    try:
        parts = urlsplit(address)
        return parts.path, parse_qs(parts.query)
    except ValueError:
        return "", {}
