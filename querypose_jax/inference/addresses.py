"""Pictures and streams with an address: http and https, and what cameras send by rtsp and its like."""

import time
from base64 import b64encode
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from querypose_jax.errors import one_line
from querypose_jax.pictures import PictureError

FETCHED = ("http", "https")
STREAMED = ("rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp")
PLAYLISTS = {".m3u8", ".mpd"}
LARGEST_DOWNLOAD = 100 * 2**20  # bytes of a picture file
TIMEOUT_S = 20.0  # without an answer
LONGEST_S = 600.0  # of a download
LONGEST_SHOWN = 300  # characters of an address in a message
PIECE = 2**16  # bytes


def is_address(source: Any) -> bool:
    """True for a text with one of the schemes that are read."""
    return isinstance(source, str) and source.partition("://")[0].lower() in (*FETCHED, *STREAMED) and "://" in source


def is_by_http(address: str) -> bool:
    """True for an address by http or https."""
    return address.partition("://")[0].lower() in FETCHED


def without_password(address: str) -> str:
    """An address to show, in one line: user and password are left out; PictureError as `split`."""
    return one_line(urlunsplit(without_user(split(address))), LONGEST_SHOWN)


def split(address: str) -> SplitResult:
    """The parts of an address; raises PictureError for what is none."""
    try:
        parts = urlsplit(address)
        if not address.isprintable():
            raise ValueError("write control characters as %XX")
        _ = parts.port  # ValueError where it is none
        return parts
    except ValueError as error:
        raise PictureError(f"{one_line(address)}: is no address ({one_line(error)})") from None


def without_user(parts: SplitResult) -> SplitResult:
    """An address whose host has neither user nor password."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2])


def last_part(address: str) -> str:
    """The name of the file that an address ends in; the host where it ends in none."""
    parts = split(address)
    name = parts.path.rstrip("/").rpartition("/")[2]
    return name if name.isprintable() and name.strip(".") else str(parts.hostname or "stream")


def suffix_of(address: str) -> str:
    """`.jpg` of http://host/a/b.jpg?size=3, in small letters; "" where there is none."""
    name = split(address).path.rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name else ""


def is_stream(source: Any, video_suffixes: set[str]) -> bool:
    """True for the address of a video or of a camera's stream. One by http without a suffix is asked what it is.

    Raises:
        PictureError: it does not answer.
    """
    if not is_address(source):
        return False
    if source.partition("://")[0].lower() in STREAMED:
        return True
    if suffix := suffix_of(source):
        return suffix in video_suffixes | PLAYLISTS
    with opened(source) as answer:
        return not answer.headers.get_content_type().startswith("image/")


def fetch(address: str) -> bytes:
    """The file at an address by http or https.

    Raises:
        PictureError: no answer, no such file, one that is cut short, more than LARGEST_DOWNLOAD, or LONGEST_S; the
            message has no password in it.
    """
    shown, content, until = without_password(address), bytearray(), time.monotonic() + LONGEST_S
    try:
        with opened(address) as answer:
            while piece := answer.read1(PIECE):
                content += piece
                if len(content) > LARGEST_DOWNLOAD:
                    raise PictureError(f"{shown}: has more than {LARGEST_DOWNLOAD // 2**20} MiB; fetch it yourself")
                if time.monotonic() > until:
                    raise PictureError(f"{shown}: takes more than {LONGEST_S:.0f} s; fetch it yourself")
            missing = answer.length
    except (OSError, HTTPException) as error:
        raise PictureError(f"{shown}: broke off ({one_line(error)})") from None
    if missing:  # read1 says nothing of it
        raise PictureError(f"{shown}: broke off ({missing:,} bytes are missing)")
    return bytes(content)


class Redirects(HTTPRedirectHandler):
    """Does not read the body of an answer that leads elsewhere, which may have any size."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.read = lambda *amount: b""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:  # it leads to what is no address
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def opened(address: str) -> Any:
    """An answer to read from. Nothing but http and https is spoken, also where it is redirected to."""
    opener, shown = OpenerDirector(), without_password(address)
    for handler in (
        ProxyHandler, HTTPHandler, HTTPSHandler, Redirects, HTTPDefaultErrorHandler, HTTPErrorProcessor,
    ):  # fmt: skip
        opener.add_handler(handler())
    parts = split(address)
    request = Request(urlunsplit(without_user(parts)), headers={"User-Agent": "querypose_jax"})
    if parts.username is not None:  # for this host, not for one that it leads to
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", "Basic " + b64encode(secret).decode())
    try:
        answer = opener.open(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        raise PictureError(f"{shown}: cannot be fetched ({error.code} {one_line(error.reason)})") from None
    except (OSError, HTTPException, ValueError, OverflowError) as error:  # the last one: of a port
        said = one_line(getattr(error, "reason", error))
        raise PictureError(f"{shown}: cannot be fetched ({said})") from None
    if answer is None:
        raise PictureError(f"{shown}: cannot be fetched (it leads to what is neither http nor https)")
    return answer
