"""COCO and CrowdPose numbers against stored ones, for every case of coco_eval*.json.gz and crowdpose_eval*.json.gz."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from querypose_jax.evaluation.coco import get_scorer, keypoint_metrics
from querypose_jax.evaluation.crowdpose import crowdpose_metrics
from querypose_jax.models.querypose.released_rescore import rescore_results
from querypose_jax.skeletons import COCO, CROWDPOSE
from tests.parity import goldens

FILES = sorted(goldens.FOLDER.glob("coco_eval*.json.gz"))
CROWDPOSE_FILES = sorted(goldens.FOLDER.glob("crowdpose_eval*.json.gz"))
TOLERANCE = 1e-6  # of evaluation alone
RESCORED_TOLERANCE = 1e-4  # with the released step run again


def cases(paths: list[Path]) -> list:
    return [
        pytest.param(case, id=f"{path.name.removesuffix('.json.gz')}-{case['name']}")
        for path in paths
        for case in json.loads(gzip.decompress(path.read_bytes()))["cases"]
    ]


CASES, CROWDPOSE_CASES = cases(FILES), cases(CROWDPOSE_FILES)
RESCORED = [param for param in CASES if "dt_after" in param.values[0]]
needs_golden = pytest.mark.skipif(not FILES, reason=f"no coco_eval*.json.gz in {goldens.FOLDER.name}/")

needs_crowdpose = pytest.mark.skipif(
    not CROWDPOSE_FILES, reason=f"no crowdpose_eval*.json.gz in {goldens.FOLDER.name}/"
)


@pytest.fixture(params=["pycocotools", "faster_coco_eval"])
def scorer(request):
    if request.param != "pycocotools":
        pytest.importorskip(request.param, reason="faster-coco-eval is not installed")
    return get_scorer(request.param)


def expected(stats: dict, tolerance: float):
    return pytest.approx({f"keypoint/{name}": value for name, value in stats.items()}, abs=tolerance, rel=0)


@needs_golden
@pytest.mark.parametrize("case", CASES)
def test_keypoint_metrics_equal_the_stored_numbers(case, scorer):
    assert keypoint_metrics(case["gt"], case["dt"], COCO, scorer) == expected(case["stats"], TOLERANCE)


@needs_crowdpose
@pytest.mark.parametrize("case", CROWDPOSE_CASES)
def test_crowdpose_metrics_equal_the_stored_numbers(case, scorer):
    assert crowdpose_metrics(case["gt"], case["dt"], CROWDPOSE, scorer) == expected(case["stats"], TOLERANCE)


@needs_golden
@pytest.mark.parametrize("case", RESCORED)
def test_released_step_gives_the_stored_results_and_numbers(case, scorer):
    assert keypoint_metrics(case["gt"], case["dt_after"], COCO, scorer) == expected(case["stats_after"], TOLERANCE)

    after = rescore_results(case["dt"])
    assert [r["image_id"] for r in after] == [r["image_id"] for r in case["dt_after"]]
    for field in ("score", "bbox", "keypoints"):
        ours, stored = (np.array([result[field] for result in results]) for results in (after, case["dt_after"]))
        np.testing.assert_allclose(ours, stored, atol=1e-3, rtol=0, err_msg=field)
    assert keypoint_metrics(case["gt"], after, COCO, scorer) == expected(case["stats_after"], RESCORED_TOLERANCE)
