"""Files are there whole or not at all."""

import json

import pytest

from querypose_jax.files import write_json, write_text


def test_folders_are_made_and_only_the_file_is_left(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "ä")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
    assert (tmp_path / "a" / "b.txt").read_bytes() == "ä".encode()


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
