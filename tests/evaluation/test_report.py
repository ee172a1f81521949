"""The page of an evaluation names what is there, and nothing that is not."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from querypose_jax.evaluation.curves import curve
from querypose_jax.evaluation.report import write_report
from querypose_jax.pictures import write_jpeg

METRICS = {"keypoint/AP": 0.5234, "keypoint/APm": -1.0, "box/AP": 0.25}


class Sources(HTMLParser):
    """Every address that a page mentions, and its balance of tags."""

    def __init__(self):
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


def read(path: Path) -> tuple[str, list[str]]:
    parser = Sources()
    parser.feed(path.read_text())
    return path.read_text(), parser.addresses


def test_the_page_holds_the_table_the_curves_and_relative_pictures_that_exist(tmp_path):
    folder = tmp_path / "eval" / "30"
    for name in ("worst/01_7.jpg", "best/01_8.jpg", "pictures/7.jpg"):
        write_jpeg(folder / name, Image.new("RGB", (8, 8)))
    lines = [{"step": step, "loss/total": 3.0 - step, "keypoint/AP": 0.1 * step} for step in (1, 2, 3)]
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "lo')
    page, addresses = read(write_report(folder, METRICS, log))
    assert "<td>52.3</td>" in page
    assert "<td>25.0</td>" in page
    assert page.count("<polyline") == 2
    assert len(addresses) == 2 * 3
    assert all((folder / address).is_file() for address in addresses)
    assert not re.search(r"(src|href)=[\"']?(https?:|/|file:)", page)


def test_without_log_and_pictures_the_page_is_a_table(tmp_path):
    page, addresses = read(write_report(tmp_path, METRICS, tmp_path / "metrics.jsonl"))
    assert "<table>" in page
    assert "<svg" not in page
    assert addresses == []


@pytest.mark.parametrize("values", [[1.0, 5.0, 3.0], [2.0, 2.0, 2.0], [1.0, float("nan"), 5.0]])
def test_curves_stay_inside_their_frame(values):
    points = re.search(r'points="([^"]*)"', curve(list(enumerate(values))))[1]
    xy = np.array([[float(v) for v in point.split(",")] for point in points.split()])
    assert len(xy) == np.isfinite(values).sum()
    assert (xy[:, 0] >= 58).all() and (xy[:, 0] <= 388).all()
    assert (xy[:, 1] >= 12).all() and (xy[:, 1] <= 174).all()
    if len(set(values)) > 1:
        assert xy[:, 1].argmin() == np.nanargmax(np.array(values)[np.isfinite(values)])
