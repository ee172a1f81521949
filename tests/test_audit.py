"""The audit: a copy of an advisory database names what is installed and vulnerable, and nothing else."""

import json
import re
import sys
import zipfile

import pytest
from packaging.version import Version

from scripts import audit

VERSIONS = {"some-package": "2.4.1", "other": "1.0"}


def advisory(name="Some_Package", events=({"introduced": "0"}, {"fixed": "2.5"}), **changes) -> dict:
    """A record about a package."""
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    entry = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges}
    return {"id": "PYSEC-1", "modified": "2026-03-04T05:06:07Z", "affected": [entry], **changes}


def known(folder, *records: dict) -> tuple[list[str], str]:
    for number, record in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(record))
    return audit.known_in(folder, VERSIONS)


@pytest.mark.parametrize(
    ("version", "events", "inside"),
    [
        ("1.0", [{"introduced": "0"}], True),
        ("1.0", [{"introduced": "0"}, {"fixed": "1.0"}], False),
        ("1.0rc1", [{"introduced": "0"}, {"fixed": "1.0"}], True),
        ("1.0", [{"introduced": "0"}, {"last_affected": "1.0"}], True),
        ("1.0.post1", [{"introduced": "0"}, {"last_affected": "1.0"}], False),
        ("2.5", [{"fixed": "1.4"}, {"introduced": "2"}, {"introduced": "0"}, {"fixed": "3"}], True),  # in any order
        ("1.9", [{"introduced": "0"}, {"fixed": "1.4"}, {"introduced": "2"}, {"fixed": "3"}], False),
        ("2.0", [{"introduced": "0"}, {"fixed": "2"}, {"introduced": "2"}], True),
        ("10.0", [{"introduced": "9"}, {"fixed": "11"}], True),  # numbers, not text
    ],
)
def test_a_version_is_inside_a_range_from_introduced_to_fixed_or_last_affected(version, events, inside):
    assert audit.is_inside(Version(version), events) is inside


def test_what_is_installed_and_affected_is_a_line_with_what_mends_it(tmp_path):
    lines, said = known(tmp_path, advisory(aliases=["CVE-1"]), advisory("absent"), advisory("other", id="PYSEC-2"))
    assert lines == [
        "some-package 2.4.1: PYSEC-1, CVE-1; fixed in 2.5",
        "other 1.0: PYSEC-2; fixed in 2.5",
    ]
    assert said == "2 known; 3 advisories, the newest of 2026-03-04"


def test_listed_versions_count_and_git_ranges_do_not(tmp_path):
    listed, git = advisory(events=(), id="L"), advisory(id="G")
    listed["affected"][0]["versions"] = ["2.4.0", "2.4.1"]
    git["affected"][0]["ranges"] = [{"type": "GIT", "events": [{"introduced": "0"}]}]
    assert known(tmp_path, listed, git)[0] == ["some-package 2.4.1: L; fixed in none yet"]


def test_an_advisory_is_told_once_and_a_withdrawn_one_not_at_all(tmp_path):
    again = advisory(id="GHSA-1", aliases=["PYSEC-1"])
    lines, _ = known(tmp_path, advisory(aliases=["CVE-1"]), again, advisory("other", withdrawn="2026-01-01"))
    assert len(lines) == 1


def test_the_database_may_be_a_zip_file_and_the_exit_code_says_what_it_knows(tmp_path, monkeypatch, capsys):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PYSEC-1.json", json.dumps(advisory("numpy", events=({"introduced": "0"},))))
    monkeypatch.setattr(audit, "broken_bounds", lambda *_: [])
    monkeypatch.setattr(sys, "argv", ["audit.py", f"--database={path}"])
    assert audit.main() == 1
    assert "PYSEC-1; fixed in none yet\nvulnerabilities: 1 known; 1 advisories" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read .*FileNotFoundError"),
        (b"PK no zip", "cannot be read .*BadZipFile"),
        (b"[1]", "BadZipFile"),
    ],
)
def test_a_database_that_cannot_be_read_is_a_line_and_exit_code_2(tmp_path, capsys, content, why):
    path = tmp_path / "all.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        audit.known_in(path, VERSIONS)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.match(f"error: {path}: .*{why}", error)


@pytest.mark.parametrize("record", [[1], {"affected": 3}, {"affected": [{"package": "x"}]}, {"affected": []}, "x"])
def test_records_of_another_form_are_no_database(tmp_path, record, capsys):
    with pytest.raises(SystemExit):
        known(tmp_path, record)
    assert "OSV" in capsys.readouterr().err
