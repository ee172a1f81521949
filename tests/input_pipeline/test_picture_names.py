"""Where files are looked for whose names are those of another machine."""

import os

import pytest

from input_pipeline.picture_names import settle_names


@pytest.fixture
def walked(monkeypatch):
    """Folders that were gone through."""
    seen = []
    monkeypatch.setattr(os, "walk", lambda folder: seen.append(str(folder)) or [(str(folder), [], ["a.png"])])
    return seen


def test_below_the_folder_of_pictures(walked, tmp_path):
    images = [{"file_name": "C:\\train\\a.png"}]
    assert "matched by their last part" in settle_names(images, tmp_path)[0]
    assert images[0]["file_name"] == "a.png" and walked == [str(tmp_path)]


def test_never_on_a_whole_disk(walked, tmp_path):
    """A list of YOLO with a path from elsewhere has pictures that share no folder but the root."""
    images = [{"file_name": "images\\train\\a.png"}]
    assert settle_names(images, type(tmp_path)(tmp_path.anchor)) == []
    assert images[0]["file_name"] == "images\\train\\a.png" and not walked
