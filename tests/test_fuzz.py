"""Fuzzing: a few inputs for every reader, and that what is not clean is seen. `scripts/fuzz.py` tries 100,000."""

import signal
import sys

import pytest

from querypose_jax.errors import UserError
from scripts import fuzz

SLOW = {"recognition", "streams"}  # make whole models, or films


@pytest.fixture
def tried(monkeypatch, capsys):
    """Exit code of the script for some inputs of a reader, and what it prints."""
    handler = signal.getsignal(signal.SIGVTALRM)

    def one(reader: str, inputs: int) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fuzz.py", f"--readers={reader}", f"--inputs={inputs}"])
        code = fuzz.main()
        return code, capsys.readouterr().out

    yield one
    signal.signal(signal.SIGVTALRM, handler)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside of pycocotools
@pytest.mark.parametrize(
    "reader", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in fuzz.READERS]
)
def test_damaged_input_is_used_or_refused(reader, tried):
    code, said = tried(reader, 30)
    assert code == 0 and f"{reader}: 30 tried" in said and " 0 failed" in said


def breaks(made, folder, rng):
    raise KeyError(made)


def says_too_much(made, folder, rng):
    raise UserError("a\nb")


def speaks_to_terminals(made, folder, rng):
    raise UserError("\x1b[2J")


def never_ends(made, folder, rng):
    while True:
        pass


@pytest.mark.parametrize(
    ("use", "said"),
    [(breaks, "KeyError"), (says_too_much, "message"), (speaks_to_terminals, "message"), (never_ends, "no end after")],
)
def test_what_is_not_clean_is_told_and_ends_with_one(use, said, tried, monkeypatch):
    monkeypatch.setattr(fuzz, "LIMIT_S", 0.2)
    monkeypatch.setitem(fuzz.READERS, "x", fuzz.Reader(lambda rng: rng.random(), use))
    code, out = tried("x", 1)
    assert code == 1 and out.startswith("x 0: ") and said in out and "1 failed" in out


def test_the_same_number_makes_the_same_input(monkeypatch, tried):
    made = []
    monkeypatch.setitem(
        fuzz.READERS, "x", fuzz.Reader(lambda rng: rng.random(), lambda given, *more: made.append(given))
    )
    tried("x", 3)
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--readers=x", "--first=1", "--inputs=2"])
    fuzz.main()
    assert made[3:] == made[1:3] and len(set(made)) == 3
