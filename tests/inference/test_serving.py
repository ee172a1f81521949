"""The served page: a picture in, people out; limits, and no answer to whom it is not for."""

import base64
import http.client
import io
import json
import re
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference import serving
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
