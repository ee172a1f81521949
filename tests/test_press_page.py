"""The script that presses the served page: what it counts, and a small round of it."""

import os
import socket
import sys
import threading

import pytest

from scripts import press_page


def test_an_answer_that_does_not_come_is_counted_as_none():
    """From a server that closes at once, and from none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        assert press_page.post(port, 1, b"x").startswith("no answer")
        thread.join()
    assert press_page.post(port, 1, b"x") == "no answer (ConnectionRefusedError)"


def test_what_begins_together_is_counted_by_status():
    assert press_page.at_once(5, lambda number: "200" if number else "503") == {"200": 4, "503": 1}


def test_load_is_that_of_the_process():
    load = press_page.load_of(os.getpid())
    assert load.most >= load.mib > 10 and load.threads >= 1 and load.files >= 3


@pytest.mark.slow
def test_a_page_that_is_pressed_answers_everybody(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["press_page.py", "--visitors=5", "--rounds=2", "--slow_s=1"])
    assert press_page.main() == 0
    out = capsys.readouterr().out
    assert out.count("many: 5 200;") == out.count("too large: 5 413;") == out.count("idle: 50 503, 256 open;") == 2
