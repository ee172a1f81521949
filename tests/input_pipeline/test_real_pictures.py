"""The pipeline on real COCO pictures; $QUERYPOSE_DATA names the folder that holds coco_mini."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from configs import coco_r50
from input_pipeline import loader
from input_pipeline.batching import plan_block
from input_pipeline.coco import split_files
from input_pipeline.split_files import read_split
from input_pipeline.statistics import describe_batches
from querypose_jax.skeletons import COCO
from querypose_jax.structures import FILLER_ID

ROOT = Path(os.environ.get("QUERYPOSE_DATA", "")) / "coco_mini"
pytestmark = pytest.mark.skipif(
    not os.environ.get("QUERYPOSE_DATA") or not ROOT.is_dir(), reason="QUERYPOSE_DATA names no folder with coco_mini"
)


def annotation_path(split: str) -> Path:
    return ROOT / "annotations" / f"person_keypoints_{split}2017.json"


@pytest.fixture
def config(tmp_path):
    config = coco_r50.get_config()
    config.data.update(root=str(ROOT), prepared=str(tmp_path), workers=2)
    return config


def test_ground_truth_is_that_of_the_file(config):
    truth = loader.open_split(config, "val").ground_truth()
    content = json.loads(annotation_path("val").read_text())
    expected = {a["id"]: a for a in content["annotations"]}
    assert len(truth["annotations"]) == len(expected)
    for annotation in truth["annotations"]:
        assert annotation == {key: expected[annotation["id"]][key] for key in annotation}
    assert [image["id"] for image in truth["images"]] == sorted(image["id"] for image in content["images"])


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("shards", [1, 8])
def test_padding_canvases_and_programs_stay_within_their_limits(config, split, shards):
    annotations = read_split(split_files(config.data, split, COCO))
    blocks = [plan_block(annotations, config, shards, block) for block in range(6)]
    numbers = describe_batches(list(itertools.chain(*blocks)))
    assert numbers["padding"] <= 0.22
    assert numbers["canvases"] <= 16
    assert numbers["programs"] <= 24


def test_full_size_batches_hold_real_people_on_zero_padding(config):
    split = loader.open_split(config, "train")
    batches = loader.train_batches(config, split, start_step=0, shards=8)
    batch = next(batches)
    batches.close()
    assert batch.image.shape[1:3] in [tuple(canvas) for canvas in config.data.canvases]
    assert batch.is_person.any(-1).sum() >= 14  # a crop may lose the people of a picture
    for i, (h, w) in enumerate(batch.valid_size):
        assert batch.image[i, :h, :w].std() > 10
        assert not batch.image[i, h:].any()
        assert not batch.image[i, :, w:].any()
        boxes = batch.boxes[i][batch.is_person[i]]
        assert ((boxes >= 0) & (boxes <= (w, h, w, h))).all()


def test_evaluation_in_exact_mode_pads_to_the_next_multiple_of_32(config):
    config.eval.update(canvas="exact", max_pictures=6)
    split = loader.open_split(config, "val")
    batches = list(loader.eval_batches(config, split, shards=1))
    ids = [int(batch.image_id[0]) for batch in batches]
    assert sorted(ids) == split.annotations.image_id[:6].tolist()
    assert FILLER_ID not in ids
    for batch in batches:
        np.testing.assert_array_equal(-(-batch.valid_size[0] // 32) * 32, batch.image.shape[1:3])
        assert batch.valid_size[0].min() == 800 or batch.valid_size[0].max() == 1333
