"""Where weights come from travels with them: from an import into runs, and in words."""

import pytest
from flax import nnx

from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.checkpoints.origin import in_words, read_metadata, read_origin, write_origin
from querypose_jax.errors import UserError
from querypose_jax.training.loop import train
from tests.training.fakes import FakeModel, fake_batches, fake_config

ORIGIN = {
    "name": "ED-Pose R-50, COCO",
    "file": "edpose_r50_coco.pth",
    "sha256": "0123456789abcdef" * 4,
    "publisher": "the authors of ED-Pose",
    "page": "https://example.org",
    "terms": "non-commercial research only",
    "threshold": {"score": 0.2, "reason": "tuned elsewhere"},
}


def test_a_run_that_starts_from_weights_keeps_their_origin_and_terms_and_so_does_the_next(tmp_path):
    save_model(tmp_path / "import", fake_config(), nnx.state(FakeModel(nnx.Rngs(0))))
    write_origin(tmp_path / "import", ORIGIN)
    for before, run in (("import", "run"), ("run", "next")):
        config = fake_config(num_steps=1)
        config.init_from = str(tmp_path / before)
        train(config, fake_batches(), tmp_path / run)
        origin = read_origin(tmp_path / run)
        assert origin["name"] == "trained on from ED-Pose R-50, COCO"
        assert origin["terms"] == ORIGIN["terms"] and origin["sha256"] == ORIGIN["sha256"]
        assert "threshold" not in origin  # it was that of other weights


def test_a_run_from_nothing_or_from_one_of_ours_has_none(tmp_path):
    train(fake_config(num_steps=1), fake_batches(), tmp_path / "run")
    assert read_origin(tmp_path / "run") is None
    config = fake_config(num_steps=1)
    config.init_from = str(tmp_path / "run")
    train(config, fake_batches(), tmp_path / "next")
    assert read_origin(tmp_path / "next") is None


def test_it_is_one_line_and_says_what_is_not_known():
    line = in_words(ORIGIN, "weights")
    assert line == (
        "weights: ED-Pose R-50, COCO, by the authors of ED-Pose (https://example.org), file edpose_r50_coco.pth, "
        "sha256 0123456789abcdef...; terms: non-commercial research only"
    )
    assert in_words({"name": "x"}) == "origin: x, by unknown; terms: unknown"


def test_what_is_no_origin_is_one_line_or_none(tmp_path):
    (tmp_path / "origin.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON file"):
        read_origin(tmp_path)
    for text in ("", "null", "[1]", "{"):
        assert read_metadata({"origin": text}) is None
    assert read_metadata({}) is None
