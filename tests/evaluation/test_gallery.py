"""The worst and best pictures of an evaluation, in this order, whatever the order they come in."""

import numpy as np
import pytest
from PIL import Image

from querypose_jax.evaluation.gallery import Gallery
from querypose_jax.skeletons import COCO
from querypose_jax.structures import Poses

K = COCO.num_keypoints


def truth(count: int) -> dict:
    keypoints = np.concatenate([np.full((K, 2), 39.5), np.full((K, 1), 2)], -1).ravel().tolist()
    person = {"category_id": 1, "bbox": [20, 20, 40, 40], "area": 800.0, "iscrowd": 0, "keypoints": keypoints}
    return {"annotations": [person | {"id": i, "image_id": i} for i in range(count)]}


def poses(offset: float) -> Poses:
    """One person, `offset` pixels from where it is labelled."""
    return Poses(
        scores=np.full((1, 1), 0.9),
        labels=np.zeros((1, 1), int),
        valid=np.ones((1, 1), bool),
        boxes=np.array([[[20.0, 20, 60, 60]]]),
        keypoints=np.full((1, 1, K, 2), 40.0 + offset),
        keypoint_scores=np.full((1, 1, K), 0.9),
    )


@pytest.mark.parametrize("order", [range(6), (5, 0, 3, 1, 4, 2)])
def test_worst_and_best_are_kept_in_their_order(order, tmp_path):
    gallery = Gallery(truth(6), COCO, count=2, threshold=0.3)
    for i in order:  # picture i is off by i pixels
        gallery.add(i, lambda: Image.new("RGB", (80, 80)), poses(float(i)))
    gallery.write(tmp_path)
    assert sorted(path.name for path in (tmp_path / "worst").iterdir()) == ["01_5.jpg", "02_4.jpg"]
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["01_0.jpg", "02_1.jpg"]


def test_few_pictures_are_shown_once_and_earlier_ones_go(tmp_path):
    (tmp_path / "worst").mkdir()
    (tmp_path / "worst" / "09_77.jpg").write_bytes(b"old")
    gallery = Gallery(truth(3), COCO, count=2, threshold=0.3)
    for i in range(3):
        gallery.add(i, lambda: Image.new("RGB", (80, 80)), poses(float(i)))
    gallery.write(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.jpg")) == ["01_0.jpg", "01_2.jpg", "02_1.jpg"]
