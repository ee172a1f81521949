"""Segmentations of any form become codes and masks again; what is none counts as missing and harms nobody."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from configs.simplepose import synthetic_tiny as simplepose_tiny
from input_pipeline import loader
from input_pipeline.batching import about_masks
from input_pipeline.segments import NONE, decode_segment, encode_segment, is_segmentation
from querypose_jax.recipes.counted import counted_mask
from querypose_jax.recipes.warp import warped_loss_mask

HEIGHT, WIDTH = 40, 60
SQUARE = [10, 5, 30, 5, 30, 25, 10, 25]


def painted() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:25, 10:30] = True
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs down the columns, the first of zeros."""
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))
    return np.diff([0, *changes, mask.size]).tolist()


def compressed(mask: np.ndarray) -> str:
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


@pytest.mark.parametrize(
    "form",
    [
        [SQUARE],
        [SQUARE, [1, 2, 3]],
        {"size": [HEIGHT, WIDTH], "counts": runs(painted())},
        {"size": [HEIGHT, WIDTH], "counts": compressed(painted())},
    ],
    ids=["polygon", "polygon beside none", "runs", "compressed"],
)
def test_every_form_gives_the_same_mask(form):
    code = encode_segment(form, HEIGHT, WIDTH)
    assert np.array_equal(decode_segment(code, HEIGHT, WIDTH), painted())


def test_an_outline_that_goes_to_and_fro_for_ever_is_none():
    """Of 9,000 pixels' width it would take 9 GB: the library keeps some 50 bytes for each pixel of it, and where it is
    given none it ends the process."""
    side = 9000
    zigzag = [[(side * (i // 2 % 2), i // 2 * side / 20_000)[i % 2] for i in range(40_000)]]
    assert encode_segment([SQUARE, *zigzag], side, side) == NONE
    assert encode_segment([SQUARE, zigzag[0][:100]], side, side) != NONE


def test_polygons_are_joined_and_cut_off_at_the_border():
    far = [[-1e9, 0, 5, 0, 5, 1e9, -1e9, 1e9], SQUARE]
    expected = painted()
    expected[:, :5] = True
    assert np.array_equal(decode_segment(encode_segment(far, HEIGHT, WIDTH), HEIGHT, WIDTH), expected)


@pytest.mark.parametrize(
    "form",
    [
        None, "", 7, [], [[]], [[1, 2, 3, 4]], [7], [["a"] * 6], [[float("nan")] * 6], [[10**400] * 6], {},
        {"size": [HEIGHT, WIDTH]}, {"size": [WIDTH, HEIGHT], "counts": compressed(painted())},
        {"size": [HEIGHT, WIDTH], "counts": "9999"}, {"size": [HEIGHT, WIDTH], "counts": "oooooooo"},
        {"size": [HEIGHT, WIDTH], "counts": "0\x00\xff"}, {"size": [HEIGHT, WIDTH], "counts": ["a"]},
        {"size": [HEIGHT, WIDTH], "counts": [-5, HEIGHT * WIDTH + 5]},
        {"size": [HEIGHT, WIDTH], "counts": [1, 2]}, {"size": [HEIGHT, WIDTH], "counts": []},
    ],
)  # fmt: skip
def test_what_is_no_segmentation_is_missing(form):
    assert encode_segment(form, HEIGHT, WIDTH) == NONE
    assert not decode_segment(NONE, HEIGHT, WIDTH).any()


def test_what_looks_like_one_is_told_from_what_does_not():
    assert is_segmentation([SQUARE]) and is_segmentation({"counts": "1"})
    assert not any(map(is_segmentation, (None, [], [[1, 2]], {}, {"counts": None}, "1")))


@pytest.fixture
def custom(tmp_path):
    """Two pictures of one's own: somebody, somebody small, and a crowd behind both; the second picture without any."""
    (tmp_path / "pictures").mkdir()
    keypoints = [20.0, 15.0, 2, 25.0, 10.0, 2] + [0.0] * 45
    small = [40, 30, 48, 30, 48, 36, 40, 36]
    everywhere = np.ones((HEIGHT, WIDTH), bool)
    rows = [
        dict(iscrowd=0, num_keypoints=2, area=400.0, segmentation=[SQUARE]),
        dict(iscrowd=0, num_keypoints=2, area=48.0, segmentation=[small]),
        dict(iscrowd=1, num_keypoints=0, area=2400.0, segmentation=dict(size=[HEIGHT, WIDTH], counts=runs(everywhere))),
        dict(iscrowd=0, num_keypoints=2, area=400.0),
    ]
    annotations = [
        row | dict(id=i, image_id=int(i == 3), category_id=1, bbox=[10, 5, 20, 20], keypoints=keypoints)
        for i, row in enumerate(rows)
    ]
    for row in annotations[1:3]:
        row["keypoints"] = row["keypoints"] if row["num_keypoints"] else [0.0] * 51
    images = [dict(id=i, file_name=f"{i}.png", height=HEIGHT, width=WIDTH) for i in range(2)]
    for image in images:
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "pictures" / image["file_name"])
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name="person")])
    (tmp_path / "train.json").write_text(json.dumps(content))
    config = simplepose_tiny.get_config()
    del config.data.synthetic
    config.data.update(name="custom", root=str(tmp_path), prepared=str(tmp_path / "prepared"), batch_size=2)
    config.data.update(block_batches=2, smallest_area=100.0)
    config.data.custom = dict(train=("train.json", "pictures"))
    return config


def test_training_batches_carry_the_masks_of_their_pictures_warped_with_them(custom):
    split = loader.open_split(custom, "train")
    assert split.annotations.is_segmented.tolist() == [True, True, True, False]
    assert about_masks(custom.data, split.annotations) == ""
    somebody, small = painted(), np.zeros((HEIGHT, WIDTH), bool)
    small[30:36, 40:48] = True
    facts = [dict(iscrowd=0, num_keypoints=2, area=a) for a in (400.0, 48.0)] + [dict(iscrowd=1, num_keypoints=0)]
    mask = counted_mask(facts, [somebody, small, np.ones((HEIGHT, WIDTH), bool)], (HEIGHT, WIDTH), 100.0)
    assert np.array_equal(mask > 0, somebody)
    for batch in loader.train_batches(custom, split, start_step=0, shards=1, stop_step=4):
        for b, image_id in enumerate(batch.image_id.tolist()):
            matrix = np.linalg.inv(np.concatenate([batch.inv_affine[b], [[0, 0, 1]]]).astype(np.float64))
            expected = warped_loss_mask(mask if image_id == 0 else None, matrix, (160, 192))
            assert (batch.loss_mask[b] != expected).mean() < 0.01, "but for the rounding of the matrix"
            assert batch.loss_mask[b].all() == (image_id == 1)


def test_other_recipes_and_evaluation_have_no_masks_and_data_without_segmentations_say_so(custom):
    split = loader.open_split(custom, "train")
    [batch] = loader.eval_batches(custom, split, shards=1)
    assert batch.loss_mask is None
    annotations = split.annotations
    annotations.is_segmented[:] = False
    assert "no segmentations: losses count everywhere" in about_masks(custom.data, annotations)
    custom.data.recipe = "querypose"
    assert about_masks(custom.data, annotations) == ""


@pytest.mark.parametrize(
    "counts", [[4294967295, 4294967295, 32767, 127], [2**31, 2**31], [-1, 13], [float("nan")], [11], [13]]
)
def test_runs_that_do_not_add_up_to_the_picture_reach_no_library(counts, monkeypatch):
    """pycocotools writes beyond its memory where a run needs more than six characters; the process may die later."""

    def reached(*given):
        raise AssertionError

    monkeypatch.setattr(rle, "frPyObjects", reached)
    assert encode_segment({"size": [3, 4], "counts": counts}, 3, 4) == NONE


def test_runs_that_add_up_are_read():
    code = encode_segment({"size": [3, 4], "counts": [5, 4, 3]}, 3, 4)
    assert decode_segment(code, 3, 4).T.ravel().tolist() == [False] * 5 + [True] * 4 + [False] * 3
