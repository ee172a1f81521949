"""Parity of the data pipeline: the official augmentation on pictures, boxes and joints, and the resize rule."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import querypose
from input_pipeline.split_files import SplitFiles, read_split
from input_pipeline.targets import make_targets
from querypose_jax.recipes.geometry import Geometry
from querypose_jax.recipes.querypose import RECIPE, transform_picture
from querypose_jax.recipes.resize import resized_shape
from querypose_jax.skeletons import Skeleton
from tests.parity import goldens

PIXELS = 1e-3  # tolerance on coordinates
LEVELS = 1  # tolerance on colours: the rounding of another Pillow version
RULES = sorted(goldens.FOLDER.glob("resize_rule*.json")) or [Path(__file__).parent / "golden" / "resize_rule.json"]


@pytest.mark.parametrize("path", goldens.files("data_transforms"))
def test_augmented_boxes_and_joints_are_the_official_ones(path, tmp_path):
    golden = read_cases(path)
    skeleton = skeleton_that_flips(golden["flip_indices"])
    for i, case in enumerate(golden["cases"]):
        file = tmp_path / f"case{i}.json"
        file.write_text(json.dumps(coco_form(case)))
        annotations = read_split(SplitFiles("val", (file,), tmp_path, skeleton))
        geometry = Geometry(*(np.asarray(field)[None] for field in geometry_of(case)))
        is_target = RECIPE.is_target(annotations, querypose.get_config().data)
        targets = make_targets(annotations, np.array([0]), is_target, geometry, RECIPE, skeleton, max_people=100)
        boxes = np.reshape(case["boxes_xyxy"], (-1, 4))
        joints = np.reshape(case["keypoints"], (-1, skeleton.num_keypoints, 3))
        np.testing.assert_allclose(targets.boxes, boxes, rtol=0, atol=PIXELS, err_msg=f"boxes of case {i}")
        np.testing.assert_allclose(targets.keypoints, joints, rtol=0, atol=PIXELS, err_msg=f"joints of case {i}")
        np.testing.assert_array_equal(targets.keypoints[..., 2], joints[..., 2], err_msg=f"visibility of case {i}")


@pytest.mark.parametrize("path", goldens.files("data_transforms"))
def test_augmented_pixels_are_the_official_ones(path):
    with np.load(path, allow_pickle=False) as arrays:
        for i, case in enumerate(read_cases(path)["cases"]):
            moved = np.asarray(transform_picture(Image.fromarray(arrays[f"in{i}"]), geometry_of(case)))
            assert moved.shape == arrays[f"out{i}"].shape == (*case["out_hw"], 3)
            difference = np.abs(moved.astype(int) - arrays[f"out{i}"])
            assert difference.max() <= LEVELS, f"case {i}: {difference.max()} levels"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_resized_shapes_are_the_official_ones(path):
    table = json.loads(path.read_text())
    assert table["columns"] == ["h", "w", "short", "max", "new_h", "new_w"]
    assert table["rows"]
    for height, width, short, longest, *expected in table["rows"]:
        assert list(resized_shape(height, width, short, longest)) == expected


def read_cases(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as arrays:
        return json.loads(arrays["cases"].tobytes())


def geometry_of(case: dict) -> Geometry:
    """The golden's list of operations as one row of a Geometry; a list in another order does not fit and fails."""
    original = np.array([case["height"], case["width"]], np.int32)
    ops = list(case["ops"])
    flip = bool(ops and ops[0]["op"] == "hflip")
    resized, crop = original, np.array([0, 0, *original[::-1]], np.int32)
    *before, last = ops[flip:]
    if before:
        first, cut = before
        assert (first["op"], cut["op"]) == ("resize_short", "crop")
        resized = np.array(resized_by_rule(first, original), np.int32)
        crop = np.array([cut["x0"], cut["y0"], cut["w"], cut["h"]], np.int32)
    assert last["op"] == "resize_short"
    final = resized_by_rule(last, crop[[3, 2]])
    assert final == tuple(case["out_hw"])
    return Geometry(original, np.array(flip), resized, crop, np.array(final, np.int32))


def resized_by_rule(op: dict, size: np.ndarray) -> tuple[int, int]:
    longest = float("inf") if op["max"] is None else op["max"]
    shape = resized_shape(*size.tolist(), op["short"], longest)
    assert list(shape) == op["out_hw"]
    return shape


def skeleton_that_flips(flip_indices: list[int]) -> Skeleton:
    """As many joints as the golden has, with its left/right pairs."""
    count = len(flip_indices)
    pairs = tuple((a, b) for a, b in enumerate(flip_indices) if a < b)
    names = tuple(f"joint_{j}" for j in range(count))
    return Skeleton("golden", names, pairs, (0.1,) * count, (), (("all", tuple(range(count))),))


def coco_form(case: dict) -> dict:
    """A whole annotation file around one case; what the pipeline does not look at is filled in."""
    image = dict(id=1, file_name="case.png", height=case["height"], width=case["width"])
    filled = dict(image_id=1, category_id=1, area=1.0, num_keypoints=1)
    objects = [filled | annotation | dict(id=i) for i, annotation in enumerate(case["annotations"])]
    return dict(images=[image], annotations=objects, categories=[dict(id=1, name="person")])
