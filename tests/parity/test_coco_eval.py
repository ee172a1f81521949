"""COCO numbers against stored ones, for every case of every golden named coco_eval*.json.gz."""

import gzip
import json
import os
from pathlib import Path

import pytest

from querypose_jax.evaluation.coco import keypoint_metrics
from querypose_jax.skeletons import COCO

GOLDEN = os.environ.get("QUERYPOSE_GOLDEN", "")
FILES = sorted(Path(GOLDEN).glob("coco_eval*.json.gz")) if GOLDEN else []
TOLERANCE = 1e-6


def cases() -> list:
    return [
        pytest.param(case, id=f"{path.name.removesuffix('.json.gz')}-{case['name']}")
        for path in FILES
        for case in json.loads(gzip.decompress(path.read_bytes()))["cases"]
    ]


@pytest.mark.skipif(not FILES, reason="QUERYPOSE_GOLDEN names no folder with coco_eval*.json.gz")
@pytest.mark.parametrize("case", cases())
def test_keypoint_metrics_equal_the_stored_numbers(case):
    metrics = keypoint_metrics(case["gt"], case["dt"], COCO)
    assert metrics == pytest.approx({f"keypoint/{k}": v for k, v in case["stats"].items()}, abs=TOLERANCE)
