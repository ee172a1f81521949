"""The served page: a picture in, people out; limits, and no answer to whom it is not for."""

import base64
import http.client
import io
import json
import re
import shutil
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pytest
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference import serving, visitors
from querypose_jax.inference.page import FILES, HTML, JS
from querypose_jax.inference.serving import LARGEST_UPLOAD, make_server


@pytest.fixture(scope="module")
def port(predictor):
    server = make_server(predictor, port=0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask(port):
    """Status, headers and content of one request."""

    def one(method: str, path: str, body: bytes | None = None, **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.headers["Content-Type"] == "application/json"
        return answer.status, answer.headers, json.loads(content) if is_json else content

    return one


def red_picture() -> bytes:
    drawn = Image.new("RGB", (96, 64), (0, 0, 120))
    drawn.paste((255, 0, 0), (24, 16, 72, 48))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()


def test_a_picture_gives_its_people_and_a_drawing(ask):
    status, _, found = ask("POST", "/predict?threshold=0.5", red_picture())
    assert status == 200 and [round(p["score"], 2) for p in found["people"]] == [0.9, 0.6]
    assert found["people"][0]["bbox"] == pytest.approx([24, 16, 48, 32], abs=1)
    with Image.open(io.BytesIO(base64.b64decode(found["picture"].partition("base64,")[2]))) as drawn:
        assert drawn.size == (96, 64) and np.asarray(drawn).std() > 0
    assert len(ask("POST", "/predict?threshold=0", red_picture())[2]["people"]) == 3


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(ask):
    for path, (kind, text) in FILES.items():
        status, headers, content = ask("GET", path)
        assert (status, headers["Content-Type"], content.decode()) == (200, kind, text)
        assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["Cache-Control"] == "no-store"
        assert "http://" not in text and "https://" not in text
    assert ask("GET", "/about")[2]["views"] == []
    for name in ("drop", "threshold", "view", "camera", "shot", "json", "said", "found"):
        assert f'id="{name}"' in HTML and f'$("{name}")' in JS


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/predict", b"no picture", 400, "this file: cannot be decoded as a picture"),
        ("/predict", b"", 400, "cannot be decoded as a picture"),
        ("/predict?threshold=2", red_picture(), 400, "threshold 2.0: must be a number from 0 to 1"),
        ("/predict?threshold=nan", red_picture(), 400, "must be a number from 0 to 1"),
        ("/predict?threshold=x", red_picture(), 400, "could not convert string to float"),
        ("/predict?view=/etc/passwd", red_picture(), 400, "view '/etc/passwd' is unknown; known: poses"),
        ("/../etc/passwd", red_picture(), 404, "there is no such page"),
    ],
)
def test_what_cannot_be_answered_is_one_line(ask, path, body, status, said):
    found = ask("POST", path, body)
    assert found[0] == status and said in found[2]["error"] and "\n" not in found[2]["error"]


def test_uploads_have_a_limit_that_is_known_before_they_are_read(ask, monkeypatch):
    assert ask("POST", "/predict", None, Content_Length=str(LARGEST_UPLOAD + 1))[0] == 413
    assert ask("POST", "/predict", None, Content_Length="-1")[0] == 413
    monkeypatch.setattr(serving, "LARGEST_UPLOAD", 10)
    assert ask("POST", "/predict", red_picture())[0] == 413


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_sites_get_no_answer(ask, port, method):
    path = "/predict" if method == "POST" else "/"
    body = red_picture() if method == "POST" else None
    for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{port}"}, {"Origin": "http://evil.example"},
                    {"Origin": "null"}):  # fmt: skip
        status, _, found = ask(method, path, body, **headers)
        assert status == 403 and found == {"error": "this address is for this machine's own browser"}
    assert ask(method, path, body, Host=f"localhost:{port}", Origin=f"http://localhost:{port}")[0] == 200


def test_files_are_not_served(ask):
    for path in ("/etc/passwd", "/../launch.py", "/%2e%2e/launch.py", "/page.py"):
        assert ask("GET", path)[0] == 404


def test_a_port_that_is_taken_is_one_line(predictor, port):
    with pytest.raises(UserError, match=rf"^127.0.0.1:{port}: cannot listen there"):
        make_server(predictor, port=port)
    with pytest.raises(UserError, match=r"^nowhere.invalid:0: cannot listen there"):
        make_server(predictor, "nowhere.invalid", 0)


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: "


def raw(port: int, content: bytes) -> bytes:
    """All that comes back for these bytes, after which nothing more is sent; who is sent away may be cut off."""
    answer = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(2**16):
            answer += piece
    return answer


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "there is no such page"),
        (b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", 403, "this machine's own browser"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\n\r\n", 403, "this machine's own browser"),
        (HEAD + b"9" * 5000 + b"\r\n\r\n", 413, "at most 20 MiB"),
        (HEAD + b"9\r\n\r\nabc", 400, "broke off after 3 of 9 bytes"),
        (b"\x1b[2J / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, "Unsupported method"),
        (b"GET / HTTP/9.9\r\n\r\n", 505, "Invalid HTTP version"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414, "Too Long"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, "Too many headers"),
    ],
)  # fmt: skip
def test_requests_that_are_none_get_an_answer_like_all_others(port, content, status, said, capfd):
    """One line of JSON with the headers that every answer has, and nothing on the terminal."""
    head, _, body = raw(port, content).partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode() and b"Content-Security-Policy" in head
    assert said in json.loads(body)["error"] and json.loads(body)["error"].isprintable()
    assert capfd.readouterr() == ("", "")


def test_what_follows_a_page_that_was_asked_for_with_a_body_is_no_request(port):
    content = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\nGET /about HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert raw(port, content).count(b"HTTP/1.1 200") == 1


def test_who_sends_too_much_is_told_why_at_the_end(ask):
    """The connection is not closed before the upload is over, which would take the answer with it."""
    status, _, found = ask("POST", "/predict", bytes(LARGEST_UPLOAD + 1))
    assert status == 413 and found["error"] == "send one picture of at most 20 MiB"


def test_uploads_at_the_same_time_share_a_limit(ask, predictor, monkeypatch):
    """While one is under way that leaves no room, others are sent away; then there is room again."""
    monkeypatch.setattr(serving, "MOST_HELD", 2000)
    with serving_at(make_server(predictor, port=0)) as server:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as first:
            first.sendall(HEAD + b"3000\r\n\r\n" + bytes(1990))
            until(lambda: server.held.count == 1990)
            head, _, body = raw(server.server_port, post_of(red_picture())).partition(b"\r\n\r\n")
            assert head.split()[1] == b"503" and b"try again" in body
        until(lambda: server.held.count == 0)
        assert b" 200 " in raw(server.server_port, post_of(red_picture())).partition(b"\r\n")[0]


def test_whoever_dawdles_is_sent_away(predictor, monkeypatch, capfd):
    """A byte now and then keeps no connection: a whole request has a deadline, in its head and in its body."""
    monkeypatch.setattr(visitors, "REQUEST_S", 1.0)
    with serving_at(make_server(predictor, port=0)) as server:
        for head in (
            b"GET / HTTP/1.1\r\nX: ",
            HEAD + b"99\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
                connection.sendall(head)
                until(lambda sender=connection: is_gone(sender))
        until(lambda: server.held.count == 0)
    assert capfd.readouterr() == ("", "")


def test_more_connections_than_there_may_be_are_answered_busy(predictor, monkeypatch):
    monkeypatch.setattr(visitors, "MOST_CONNECTIONS", 2)
    with serving_at(make_server(predictor, port=0)) as server:
        page = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with ExitStack() as stack:
            for _ in range(2):
                idle = stack.enter_context(socket.create_connection(("127.0.0.1", server.server_port)))
                idle.sendall(page)
                assert idle.recv(12) == b"HTTP/1.1 200"
            with socket.create_connection(("127.0.0.1", server.server_port)) as third:
                assert third.recv(12) == b"HTTP/1.1 503"
        until(lambda: b" 200 " in raw(server.server_port, page)[:20])


def test_what_fails_inside_is_answered_and_told_on_the_terminal(predictor, monkeypatch, capfd):
    monkeypatch.setattr(serving, "found", lambda *given: 1 / 0)
    with serving_at(make_server(predictor, port=0)) as server:
        answer = raw(server.server_port, post_of(red_picture()))
        assert answer.startswith(b"HTTP/1.1 500") and b"terminal says why" in answer
        until(lambda: "ZeroDivisionError" in capfd.readouterr().err)


@contextmanager
def serving_at(server):
    """The server, answering."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def post_of(content: bytes) -> bytes:
    return HEAD + f"{len(content)}\r\n\r\n".encode() + content


def is_gone(connection: socket.socket) -> bool:
    """Sends a byte; whether the other side has closed."""
    try:
        connection.sendall(b"x")
    except ConnectionError:
        return True
    return False


def until(has_come) -> None:
    """Waits for something that must come."""
    deadline = time.monotonic() + 60
    while not has_come():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_browser_shows_people_and_hands_out_json(port, tmp_path):
    """A real one, without a window: a picture is chosen, the threshold moved, JSON downloaded, a broken file told."""
    sync_api = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    (tmp_path / "red.png").write_bytes(red_picture())
    (tmp_path / "broken.png").write_bytes(b"no picture")

    def said(page, wanted: str) -> None:
        for _ in range(300):
            if re.search(wanted, page.text_content("#said")):
                return
            time.sleep(0.1)
        raise AssertionError(page.text_content("#said"))

    with sync_api.sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        page.set_input_files("#file", tmp_path / "red.png")
        said(page, "^2 people$")
        page.focus("#threshold")
        page.keyboard.press("Home")
        said(page, "^3 people$")
        with page.expect_download() as download:
            page.click("#json")
        assert len(json.loads(download.value.path().read_text())) == 3
        page.set_input_files("#file", tmp_path / "broken.png")
        said(page, "^this file: cannot be decoded as a picture")
        page.context.browser.close()
    assert not errors
