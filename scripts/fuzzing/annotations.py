"""Damaged annotation files in COCO form, and segmentations."""

import functools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from pycocotools import mask as rle

from configs import synthetic_tiny
from input_pipeline import people
from input_pipeline.annotations import Annotations, ground_truth
from input_pipeline.batching import plan_block
from input_pipeline.findings import find_in_annotations
from input_pipeline.segments import NONE, decode_segment, encode_segment
from input_pipeline.split_files import SplitFiles, read_split
from input_pipeline.synthetic import index_of
from querypose_jax.errors import UserError
from querypose_jax.recipes.querypose import RECIPE
from querypose_jax.skeletons import COCO, get_skeleton
from scripts.fuzzing.damage import NUMBERS, damaged, damaged_tree


@functools.cache
def sound_annotations() -> dict:
    """What damage is done to copies of."""
    drawings = [people.draw_people(0, "train", i, 60, 80, 2) for i in range(3)]
    content = ground_truth(index_of(drawings), COCO)
    content["annotations"][0]["segmentation"] = [[1, 2, 3, 4, 5, 6]]
    return content


def annotation_files(rng: random.Random) -> bytes:
    content = sound_annotations()
    for _ in range(rng.randint(1, 4)):
        content = damaged_tree(content, rng)
    text = json.dumps(content).encode()
    if rng.random() < 0.02:
        text = text.replace(b"[", b"[" * 100_000, 1)
    return damaged(text, rng) if rng.random() < 0.3 else text


def segmentation_files(rng: random.Random) -> bytes:
    """A segmentation and the size of its picture."""
    height, width = rng.choice((*[(60, 80)] * 20, (1, 1), (3000, 4000)))
    return json.dumps({"size": (height, width), "segmentation": outline(height, width, rng)}).encode()


def outline(height: int, width: int, rng: random.Random) -> Any:
    """Polygons or a run-length code, as numbers or as text; sound ones, others, and ones with one value damaged."""
    if rng.random() < 0.05:
        return [[rng.choice((0, width, i)) for i in range(rng.choice((400, 40_000)))]]  # to and fro
    area = height * width
    numbers = [
        rng.choice((rng.uniform(-10, 100), *NUMBERS, 0, 1, 2)) for _ in range(rng.choice((0, 1, 4, 5, 6, 7, 400)))
    ]
    text = "".join(chr(rng.choice((rng.randrange(48, 112), rng.randrange(0x300)))) for _ in range(rng.randrange(30)))
    runs = [rng.randrange(area // 8 + 1) for _ in range(8)]
    code = rle.encode(np.asfortranarray(np.random.default_rng(runs[0]).random((60, 80)) < 0.5))["counts"].decode()
    counts = rng.choice(([area], [0, area], [*runs, area - sum(runs)], [round(x) for x in numbers], text, code))
    size = rng.choice(([height, width], [height, width], [width, height], [0, 0], [60], [2**31, 2**31], numbers))
    sound = rng.choice(([numbers], [numbers, [1, 2, 30, 4, 5, 60]], {"counts": counts, "size": size}))
    return sound if rng.random() < 0.5 else damaged_tree(sound, rng)


def use_annotations(path: Path, rng: random.Random) -> None:
    """Reads a file and does with it what training, the check and an evaluation do."""
    split = rng.choice(("train", "val"))
    use_index(read_split(SplitFiles(split, (path,), path.parent, COCO)), CONFIG)


def config_of_plans(skeleton: Any = COCO.name) -> ConfigDict:
    """Of batches of two pictures; `skeleton` as in config.data."""
    config = synthetic_tiny.get_config()
    config.data.update(batch_size=2, block_batches=2, canvases=((2048, 2048),))
    del config.data.skeleton  # of another type
    config.data.skeleton = skeleton
    return config


CONFIG = config_of_plans()


def use_index(annotations: Annotations, config: ConfigDict) -> None:
    """Who is trained on, findings, ground truth and a plan of batches."""
    is_target = RECIPE.is_target(annotations, config.data)
    find_in_annotations(annotations, is_target, max_people=2)
    json.dumps(ground_truth(annotations, get_skeleton(config.data.skeleton)), allow_nan=False)
    if is_target.any():
        plan_block(annotations, config, 1, 0)


def use_segmentation(path: Path, rng: random.Random) -> None:
    """Encodes it as records keep it, and decodes that: to what the library decodes it to."""
    content = json.loads(path.read_text())
    height, width = content["size"]
    code = encode_segment(content["segmentation"], height, width)
    if code == NONE:
        raise UserError("it is none")
    mask = decode_segment(code, height, width)
    expected = rle.decode({"size": [height, width], "counts": code})
    assert np.array_equal(mask, expected), "another mask"
