"""Parity of the recipe of ED-Pose and Group Pose: pixels, people kept, boxes, joints, areas, and the resize rule."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from querypose_jax.recipes import detr
from querypose_jax.recipes.detr import Geometry
from querypose_jax.skeletons import Skeleton
from tests.parity import goldens

PIXELS = 1e-4  # tolerance on coordinates; the goldens are float32
AREA = 1e-6  # tolerance on areas, relative to the largest
NORMALISED = 1e-6  # tolerance on what is divided by the size of the picture

every_golden = pytest.mark.parametrize("path", goldens.files("detr_transforms"))


def rest(row: np.ndarray, limit: float) -> detr.Geometry:
    """Evaluation of a picture: h, w, short side."""
    data = ConfigDict(dict(eval_short_side=int(row[2]), longest_side=limit))
    return detr.rest_geometry(row[None, :2], data)


@every_golden
def test_sizes_are_rounded_as_released(path):
    rows = goldens.Golden(path)["resize_rule"]
    sizes, short, longest = rows[:, :2], rows[:, 2], np.where(rows[:, 3] > 0, rows[:, 3], np.inf)
    for limit in np.unique(longest):
        own = longest == limit
        np.testing.assert_array_equal(detr.resized_shapes(sizes[own], short[own], limit), rows[own, 4:])
        one_by_one = [rest(row, limit).final[0] for row in rows[own]]
        np.testing.assert_array_equal(one_by_one, rows[own, 4:])


@every_golden
def test_pixels_are_the_released_ones(path):
    golden = goldens.Golden(path)
    for i, draw in enumerate(golden.meta["draws"]):
        expected = golden[f"{i}/out_rgb"]
        geometry = geometry_of(draw, golden[f"{i}/rgb"].shape[:2])
        moved = np.asarray(detr.transform_picture(Image.fromarray(golden[f"{i}/rgb"]), geometry.at(0)))
        np.testing.assert_array_equal(moved, expected, err_msg=f"picture {i}")


@every_golden
def test_the_same_people_stay(path):
    golden = goldens.Golden(path)
    for i, draw in enumerate(golden.meta["draws"]):
        boxes, size = golden[f"{i}/boxes"], golden[f"{i}/rgb"].shape[:2]
        moved = detr.move_boxes(boxes.astype(np.float64), people_geometry(draw, size, len(boxes)))
        np.testing.assert_array_equal(np.flatnonzero(detr.is_box_left(moved)), golden[f"{i}/kept"], err_msg=f"{i}")


@every_golden
def test_boxes_joints_and_areas_are_the_released_ones(path, record_property):
    golden = goldens.Golden(path)
    skeleton = skeleton_that_flips(golden.meta["joints"], golden.meta["flip_pairs"])
    worst = dict(boxes=0.0, joints=0.0, areas=0.0)
    for i, draw in enumerate(golden.meta["draws"]):
        boxes, joints, area = people(golden, i)
        geometry = people_geometry(draw, golden[f"{i}/rgb"].shape[:2], len(boxes))
        moved_boxes = detr.move_boxes(boxes, geometry)
        moved_joints = detr.move_keypoints(joints, geometry, skeleton)
        moved_area = detr.move_area(area, boxes, geometry)

        expected = golden[f"{i}/out_keypoints"]
        is_labelled = expected[..., 2:] > 0
        assert (moved_joints[~is_labelled[..., 0]] == 0).all()  # the release moves them along
        moved = dict(boxes=moved_boxes, joints=moved_joints, areas=moved_area)
        wanted = dict(boxes=golden[f"{i}/out_boxes"], joints=expected * is_labelled, areas=golden[f"{i}/out_area"])
        for name, values in moved.items():
            absolute, relative = (0, AREA) if name == "areas" else (PIXELS, 0)
            difference = goldens.assert_close(values, wanted[name], absolute, relative, f"{name} of picture {i}")
            worst[name] = max(worst[name], difference)
        np.testing.assert_array_equal(moved_joints[..., 2], expected[..., 2])
    for name, difference in worst.items():
        record_property(name, difference)


@every_golden
def test_dividing_by_the_size_gives_the_released_targets(path):
    golden = goldens.Golden(path)
    skeleton = skeleton_that_flips(golden.meta["joints"], golden.meta["flip_pairs"])
    for i, draw in enumerate(golden.meta["draws"]):
        boxes, joints, area = people(golden, i)
        geometry = people_geometry(draw, golden[f"{i}/rgb"].shape[:2], len(boxes))
        size = geometry.final[:, ::-1].astype(np.float64)
        low, high = np.split(detr.move_boxes(boxes, geometry) / np.tile(size, 2), 2, axis=-1)
        norm_boxes = np.concatenate([(low + high) / 2, high - low], -1)
        moved = detr.move_keypoints(joints, geometry, skeleton)
        norm_xy, is_labelled = moved[..., :2] / size[:, None], moved[..., 2] > 0
        norm_area = detr.move_area(area, boxes, geometry) / size.prod(-1)
        expected = golden[f"{i}/norm_keypoints"]
        goldens.assert_close(norm_boxes, golden[f"{i}/norm_boxes"], NORMALISED)
        goldens.assert_close(norm_xy[is_labelled], expected[is_labelled][:, :2], NORMALISED)
        goldens.assert_close(norm_area, golden[f"{i}/norm_area"], NORMALISED)
        np.testing.assert_array_equal(is_labelled, expected[..., 2])


def people(golden: goldens.Golden, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, joints and areas, float64, of the people who stay on picture i."""
    return tuple(
        golden[f"{i}/{name}"][golden[f"{i}/kept"]].astype(np.float64) for name in ("boxes", "keypoints", "area")
    )


def people_geometry(draw: dict, size: tuple[int, int], people: int) -> Geometry:
    return geometry_of(draw, size).at(np.zeros(people, int))


def geometry_of(draw: dict, size: tuple[int, int]) -> Geometry:
    """The golden's draws as a Geometry of one sample. A golden's last resize has DETR's usual limit."""
    original = np.array([size])
    resized, crop = original, np.array([[0, 0, *size[::-1]]])
    if draw["path"] == "B":
        resized, crop = detr.resized_shapes(original, draw["first"], np.inf), np.array([draw["crop"]])
    final = detr.resized_shapes(crop[:, [3, 2]], draw["short"], 1333)
    return Geometry(original, np.array([draw["flip"]]), resized, crop, final)


def skeleton_that_flips(count: int, pairs: list[list[int]]) -> Skeleton:
    names = tuple(f"joint_{j}" for j in range(count))
    return Skeleton("golden", names, tuple(map(tuple, pairs)), (0.1,) * count, (), (("all", tuple(range(count))),))
