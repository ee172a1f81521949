"""The threshold of a checkpoint: what the evaluation of its own step found, else what it was imported with, else the
family's; and which one is always said."""

import json

import pytest

from configs.edpose import defaults as edpose
from querypose_jax.checkpoints.origin import write_origin
from querypose_jax.checkpoints.threshold import threshold_of, tuned_threshold
from tests.training.fakes import fake_config

TUNED = {"score": 0.41, "precision": 0.9, "recall": 0.8, "f1": 0.85, "people": 12}


def evaluated(folder, step: int, prefix: str = "threshold", **scores: float) -> None:
    path = folder / "eval" / str(step) / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | {f"{prefix}/{name}": x for name, x in (TUNED | scores).items()}))


def test_an_evaluation_of_this_very_step_decides_and_is_named(tmp_path):
    evaluated(tmp_path, 30)
    found = threshold_of(tmp_path, fake_config(), 30)
    assert found.score == 0.41
    said = "best F1 (0.85 at step 30) on 12 people of the split val of coco; it was tuned there"
    assert found.line() == f"threshold 0.41: {said}"
    assert tuned_threshold(tmp_path, fake_config(), 20) is None  # another step


def test_without_an_evaluation_it_is_that_of_the_import_and_then_the_familys(tmp_path):
    found = threshold_of(tmp_path, fake_config(), 30)
    assert (found.score, found.reason) == (0.3, "the default of fake, no evaluation has tuned one")
    assert threshold_of(tmp_path, edpose.get_config(), 0).score == 0.2
    write_origin(tmp_path, {"name": "x", "threshold": {"score": 0.25, "reason": "tuned there"}})
    assert threshold_of(tmp_path, fake_config(), 30) == (0.25, "tuned there")
    evaluated(tmp_path, 30)
    assert threshold_of(tmp_path, fake_config(), 30).score == 0.41


@pytest.mark.parametrize(("decay", "expected"), [(0.0, 0.41), (0.9, 0.6)])
def test_parameters_without_averaging_have_their_own_where_there_are_averages(tmp_path, decay, expected):
    evaluated(tmp_path, 30)
    evaluated(tmp_path, 30, "raw/threshold", score=0.6)
    assert threshold_of(tmp_path, fake_config(ema_decay=decay), 30, raw=True).score == expected


def test_an_evaluation_without_people_leaves_the_default(tmp_path):
    (tmp_path / "eval" / "30").mkdir(parents=True)
    (tmp_path / "eval" / "30" / "metrics.json").write_text('{"keypoint/AP": -1.0}')
    assert threshold_of(tmp_path, fake_config(), 30).score == 0.3
