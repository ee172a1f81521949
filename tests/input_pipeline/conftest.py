"""Small data sets to run the pipeline on: drawn people, and a folder in the layout of COCO made from them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from configs import coco_r50, synthetic_tiny
from input_pipeline import people
from input_pipeline.annotations import ground_truth
from input_pipeline.synthetic import index_of
from querypose_jax.skeletons import COCO


@pytest.fixture
def tiny(tmp_path):
    """synthetic_tiny with 60 + 11 pictures, prepared in a folder of its own."""
    config = synthetic_tiny.get_config()
    config.data.prepared = str(tmp_path / "prepared")
    config.data.synthetic.update(train_pictures=60, val_pictures=11)
    config.data.block_batches = 4
    return config


@pytest.fixture(scope="session")
def coco_like(tmp_path_factory) -> Path:
    """A data root in COCO form: 24 + 7 small pictures of many shapes, ids descending, one of a crowd, one of nobody."""
    root = tmp_path_factory.mktemp("coco")
    for split, count in (("train", 24), ("val", 7)):
        shapes = [(80 + 7 * (i % 5), 70 + 13 * (i % 7)) for i in range(count)]
        drawings = [people.draw_people(3, split, i, h, w, 3) for i, (h, w) in enumerate(shapes)]
        content = ground_truth(index_of(drawings, first_id=100), COCO)
        folder = root / f"{split}2017"
        folder.mkdir()
        for image, drawing in zip(content["images"], drawings, strict=True):
            Image.fromarray(drawing.image).save(folder / image["file_name"])
        for annotation in content["annotations"]:
            annotation["iscrowd"] = int(annotation["image_id"] == 101)  # a picture with nobody to train on
        content["images"].reverse()
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 102]  # and one without anybody
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"person_keypoints_{split}2017.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def coco(tmp_path, coco_like):
    """coco_r50 on coco_like at about a tenth of the size."""
    config = coco_r50.get_config()
    config.data.update(
        root=str(coco_like),
        prepared=str(tmp_path / "prepared"),
        batch_size=4,
        block_batches=8,
        max_people=4,
        workers=2,
        crop_short_sides=(48, 56),
        crop_sides=(40, 64),
        short_sides=(64, 72, 80),
        eval_short_side=80,
        longest_side=133,
        canvases=((96, 96), (96, 160), (160, 96), (160, 160)),
    )
    return config
