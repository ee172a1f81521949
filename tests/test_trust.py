"""The table of families and failures: cells are kept, not run again, and told in words."""

import json
import sys

import pytest

from querypose_jax.configuration.check_config import check_config
from querypose_jax.configuration.check_keys import check_keys
from scripts import trust
from tests import tiny_family

FOUND = {
    "killed": {"kills": {"write": 1, "told": 1}, "arrays": 7, "lines": 12},
    "processes": {"kills": ["process 0 after step 3"], "arrays": 7},
    "devices": {"runs": {"1x1": {"arrays_differ_by": 0.0}, "8x1": {"arrays_differ_by": 2e-13}}},
    "bfloat16": {"steps": 1000, "skipped": 0},
}


@pytest.fixture
def ran(tmp_path, monkeypatch) -> list[str]:
    """Names of the cells that were run; every check finds FOUND in no time, and results are the test's own."""
    calls = []

    def check(name):
        def run(config, folder):
            calls.append(f"{config.partition(':')[2]}/{name}")
            return FOUND[name] | {"differs": ["loss of step 3"] if "edpose" in config else []}

        return run

    monkeypatch.setattr(trust, "RESULTS", tmp_path / "trust.json")
    monkeypatch.setattr(trust, "CHECKS", {name: check(name) for name in trust.CHECKS})
    return calls


def main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["trust.py", *arguments])
    return trust.main()


@pytest.mark.parametrize("family", trust.FAMILIES)
def test_every_family_has_a_tiny_run_whose_parameters_are_averaged(family):
    config = tiny_family.get_config(family)
    check_keys(config)
    check_config(config)
    assert config.model.name == family and 0 < config.train.ema_decay < 1


def test_finished_cells_are_kept_and_not_run_again(ran, monkeypatch, capsys):
    assert main(monkeypatch, "--cells=grouppose/killed,edpose/killed") == 1
    assert main(monkeypatch, "--cells=grouppose/killed,grouppose/devices") == 0
    assert ran == ["grouppose/killed", "edpose/killed", "grouppose/devices"]
    kept = json.loads(trust.RESULTS.read_text())
    assert list(kept) == ["grouppose/devices", "grouppose/killed", "edpose/killed"]  # in the order of the table
    assert kept["edpose/killed"]["commit"] and kept["edpose/killed"]["seconds"] == 0
    assert main(monkeypatch, "--cells=grouppose/killed", "--again") == 0
    assert ran[3:] == ["grouppose/killed"]
    assert "edpose/killed: 1 differ, first: loss of step 3; 0 s" in capsys.readouterr().out


def test_a_cell_that_breaks_off_is_not_finished(ran, monkeypatch):
    def stopped(config, folder):
        raise SystemExit("no moment of kind write")

    monkeypatch.setitem(trust.CHECKS, "killed", stopped)
    with pytest.raises(SystemExit, match="no moment"):
        main(monkeypatch, "--cells=edpose/devices,edpose/killed")
    assert list(json.loads(trust.RESULTS.read_text())) == ["edpose/devices"]


def test_the_table_shows_what_was_found_and_what_was_not_run(ran, monkeypatch, capsys):
    main(monkeypatch, "--cells=querypose/killed,querypose/devices,simplepose/bfloat16,edpose/bfloat16")
    capsys.readouterr()
    assert main(monkeypatch, "--table") == 0
    assert capsys.readouterr().out.splitlines() == [
        "|  | querypose | grouppose | edpose | simplepose |",
        "| --- | --- | --- | --- | --- |",
        "| killed | 2 kills, 7 arrays, 12 lines equal to the bit | not run | not run | not run |",
        "| processes | not run | not run | not run | not run |",
        "| devices | largest difference 2e-13 | not run | not run | not run |",
        "| bfloat16 | not run | not run | differs | 1000 steps, 0 skipped |",
    ]


def test_a_cell_that_there_is_not_is_one_line(ran, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        main(monkeypatch, "--cells=edpose/burnt")
    assert "no cell edpose/burnt; there are full disk" in capsys.readouterr().err


def test_what_is_kept_in_the_repository_is_without_a_difference():
    kept = json.loads((trust.ROOT / "scripts" / "trust.json").read_text())
    every = {*trust.ONCE, *(f"{family}/{check}" for check in trust.CHECKS for family in trust.FAMILIES)}
    assert kept.keys() <= every
    assert all(cell["differs"] == [] for cell in kept.values())
