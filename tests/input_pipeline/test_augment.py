"""Augmentation in the plan: the same samples and the recipe's same draws, seeds decide, and it can be looked at."""

import json

import numpy as np
import pytest
from PIL import Image

from input_pipeline import check, loader
from input_pipeline.batching import plan_block
from querypose_jax import command_line
from querypose_jax.errors import UserError

AUGMENT = dict(rotate=30.0, scales=(0.7, 1.3), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.5)


def test_the_plan_of_an_augmented_run_takes_the_same_pictures_with_the_same_draws(tiny):
    split = loader.open_split(tiny, "train")
    [before] = {id(p.samples): p.samples for p in plan_block(split.annotations, tiny, 1, 0)}.values()
    tiny.data.augment.update(AUGMENT)
    [after] = {id(p.samples): p.samples for p in plan_block(split.annotations, tiny, 1, 0)}.values()
    np.testing.assert_array_equal(before.rows, after.rows)
    for a, b in zip(before.geometry, after.geometry.inner, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (before.targets.boxes.shape != after.targets.boxes.shape) or (
        before.targets.boxes != after.targets.boxes
    ).any()


def test_augmented_batches_follow_from_seed_and_step_and_evaluation_is_as_before(tiny):
    split = loader.open_split(tiny, "train")
    [plain] = loader.train_batches(tiny, split, start_step=3, shards=1, stop_step=4)
    evaluated = [batch.image for batch in loader.eval_batches(tiny, loader.open_split(tiny, "val"), shards=1)]
    tiny.data.augment.update(AUGMENT)
    *_, first = loader.train_batches(tiny, split, start_step=0, shards=1, stop_step=4)
    [again] = loader.train_batches(tiny, split, start_step=3, shards=1, stop_step=4)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    np.testing.assert_array_equal(first.image_id, plain.image_id)
    assert (first.image != plain.image).mean() > 0.5
    still = [batch.image for batch in loader.eval_batches(tiny, loader.open_split(tiny, "val"), shards=1)]
    assert all((a == b).all() for a, b in zip(evaluated, still, strict=True))


def test_check_draws_training_pictures_with_their_labels(tiny, tmp_path, capsys):
    def run(*flags: str) -> int:
        told = ["check", "--config=configs/synthetic_tiny.py", *flags]
        options = command_line.parse_flags(told, check.define_flags, None)
        options.config.update(tiny)
        return check.main(options)

    tiny.data.augment.update(AUGMENT)
    assert run("--draw=10", f"--output={tmp_path / 'report'}") == 0
    names = json.loads((tmp_path / "report/report.json").read_text())["train"]["drawn"]
    assert len(names) == len(set(names)) == 10 and "10 training pictures" in capsys.readouterr().out
    for name in names:
        with Image.open(tmp_path / "report/drawn" / name) as picture:
            assert min(picture.size) >= 480
            assert (np.asarray(picture).reshape(-1, 3) > 240).all(-1).sum() > 200  # the white boxes
    with pytest.raises(UserError, match="--draw needs --output=DIR"):
        run("--draw=1")
