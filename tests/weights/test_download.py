"""Files by address, from a server on this machine: resumed, checked, and never fetched unless asked for."""

import hashlib
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from querypose_jax.errors import UserError
from querypose_jax.weights import download
from querypose_jax.weights.download import local_file
from querypose_jax.weights.published import published

pytest.importorskip("gdown")

CONTENT = bytes(range(256)) * 8000  # 2 MB
IN_WHOLE_CHUNKS = 2**20  # of what comes before a line breaks after 1.2 or 1.5 million bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, or whatever a test sets."""

    content = CONTENT
    stops_after: int | None = None  # bytes, once
    takes_ranges = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []  # path, range

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append((self.path, asked))
        if self.path == "/moved/file.pth":
            self.send_response(302)
            self.send_header("Location", "/file.pth")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/none.pth":
            self.send_error(404)
            return
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and server.takes_ranges else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
        self.end_headers()
        stop, server.stops_after = server.stops_after, None
        self.wfile.write(body if stop is None else body[:stop])
        self.close_connection = True

    def log_message(self, *told):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_is_the_file(server, capsys):
    path = local_file(f"{server.address}file.pth", SHA256)
    assert path.read_bytes() == CONTENT
    assert path.name == "file.pth"
    assert "100%" in capsys.readouterr().err  # progress
    fetched = len(server.asked)
    assert local_file(f"{server.address}file.pth", SHA256[:12].upper()) == path
    assert len(server.asked) == fetched


def test_a_broken_line_is_taken_up_again_in_the_same_call(server):
    server.stops_after = 1_500_000
    assert local_file(f"{server.address}file.pth", SHA256).read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={IN_WHOLE_CHUNKS}-"


def test_a_download_that_failed_goes_on_at_the_next_call(server, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 0)
    server.stops_after = 1_200_000
    with pytest.raises(UserError, match="could not be downloaded .*; what came is kept, the same command goes on$"):
        local_file(f"{server.address}file.pth", SHA256)
    assert local_file(f"{server.address}file.pth", SHA256).read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={IN_WHOLE_CHUNKS}-"


def test_a_server_that_knows_no_ranges_never_gives_a_file_of_two_halves(server, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 0)
    server.stops_after, server.takes_ranges = 1_200_000, False
    for _ in range(2):
        with pytest.raises(UserError, match="could not be downloaded"):
            local_file(f"{server.address}file.pth", SHA256)
    assert not list(Path(download.cache_folder()).rglob("file.pth"))


def test_moved_files_are_followed(server):
    assert local_file(f"{server.address}moved/file.pth", SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", ["0" * 64, "abcdef01"])
def test_another_file_than_expected_is_one_line_and_does_not_stay(server, sha256):
    with pytest.raises(UserError, match=f"its SHA-256 is {SHA256}, not {sha256}; .* get it again"):
        local_file(f"{server.address}file.pth", sha256)
    assert not list(Path(download.cache_folder()).rglob("file.pth"))


def test_a_page_in_place_of_the_file_is_called_that_and_does_not_stay(server):
    server.content = b"<!DOCTYPE html><html><title>Quota exceeded</title></html>"
    with pytest.raises(UserError, match="file.pth: what came is a web page"):
        local_file(f"{server.address}file.pth", "any")
    assert not list(Path(download.cache_folder()).rglob("file.pth"))


@pytest.mark.parametrize(
    ("sha256", "said"),
    [
        ("", "no SHA-256 is known .*--sha256=HEX, or take what comes with --sha256=any"),
        ("xyz", "must be the hex digits"),
        ("abc", "must be"),
    ],
)
def test_without_a_checksum_nothing_is_asked_of_the_server(server, sha256, said):
    with pytest.raises(UserError, match=said) as caught:
        local_file(f"{server.address}file.pth", sha256)
    assert "\n" not in str(caught.value)
    assert not server.asked


def test_a_published_name_that_is_no_file_here_says_so_first():
    with pytest.raises(UserError, match=r"^edpose_r50_coco.pth: no such file here; https://.*: no SHA-256 is known"):
        local_file("edpose_r50_coco.pth")


def test_a_host_that_has_no_such_file_and_one_that_is_not_there_are_one_line(server, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 0)
    for address in (f"{server.address}none.pth", "http://127.0.0.1:9/file.pth"):
        with pytest.raises(UserError, match="could not be downloaded") as caught:
            local_file(address, "any")
        assert "\n" not in str(caught.value)


def test_a_published_name_stands_for_its_link(server, monkeypatch):
    listed = published()[0]._replace(address=f"{server.address}file.pth", sha256=SHA256[:8])
    monkeypatch.setattr(download, "published", lambda: [listed])
    for name in (listed.name, listed.file):
        assert local_file(name).read_bytes() == CONTENT
    assert local_file(name).name == listed.file  # by which it is recognised
    assert len(server.asked) == 1


def test_a_file_that_is_here_is_not_fetched_and_a_name_that_nobody_knows_is_one_line(server, tmp_path):
    (tmp_path / "a.pth").write_bytes(CONTENT)
    assert local_file(str(tmp_path / "a.pth")) == tmp_path / "a.pth"
    with pytest.raises(UserError, match="its SHA-256 is"):
        local_file(str(tmp_path / "a.pth"), "0" * 64)
    with pytest.raises(UserError, match=r"no such file or folder, nor the name of a published one.*models.md"):
        local_file("edpose_r51_coco")
    assert not server.asked


def test_without_the_package_one_line_says_how_to_get_it(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UserError, match=r"need the package gdown; pip install '.\[download\]'"):
        local_file(f"{server.address}file.pth", SHA256)
    assert not server.asked
