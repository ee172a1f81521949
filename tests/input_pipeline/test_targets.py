"""Who is left on a sample, and how people and fillers sit in a batch."""

import dataclasses

import numpy as np
import pytest

from configs import querypose
from input_pipeline import targets
from input_pipeline.annotations import objects_of
from input_pipeline.people import Drawing
from input_pipeline.synthetic import index_of
from querypose_jax.recipes.geometry import Geometry
from querypose_jax.recipes.querypose import RECIPE
from querypose_jax.skeletons import COCO
from querypose_jax.structures import FILLER_ID, PeopleBudget


@pytest.fixture
def annotations():
    """Two pictures of 100 x 80 (h, w): four people (areas 100, 400, 50, 900) and one."""
    image = np.zeros((100, 80, 3), np.uint8)
    boxes = np.array([[0, 0, 10, 10], [20, 0, 40, 20], [70, 90, 75, 100], [40, 40, 70, 70.0]])
    keypoints = np.zeros((4, 17, 3))
    keypoints[:, 0] = [(4.5, 4.5, 2), (29.5, 9.5, 1), (70, 95, 0), (54.5, 54.5, 2)]
    return index_of([Drawing(image, boxes, keypoints), Drawing(image, boxes[:1], keypoints[:1])], first_id=7)


def crop_of(x0, y0, w, h, count) -> Geometry:
    fields = ((100, 80), False, (100, 80), (x0, y0, w, h), (h, w))
    return Geometry(*(np.array([field] * count) for field in fields))


def targets_of(annotations, rows, geometry, most: int, is_target=None) -> targets.Targets:
    everybody = np.ones(len(annotations.bbox), bool)
    chosen = everybody if is_target is None else is_target
    return targets.make_targets(annotations, rows, chosen, geometry, RECIPE, COCO, most)


def test_crowds_and_people_cropped_away_are_no_targets(annotations):
    is_target = np.arange(5) != 1
    found = targets_of(annotations, np.array([1, 0]), crop_of(0, 0, 60, 60, 2), 10, is_target)
    np.testing.assert_array_equal(found.start, [0, 1, 3])
    np.testing.assert_allclose(found.boxes, [[0, 0, 10, 10], [0, 0, 10, 10], [40, 40, 60, 60]])
    assert found.num_cut == 0


def test_a_sample_may_be_left_without_people(annotations):
    found = targets_of(annotations, np.array([1, 1]), crop_of(50, 50, 20, 20, 2), 10)
    np.testing.assert_array_equal(found.people, [0, 0])
    assert found.keypoints.shape == (0, 17, 3)


def test_the_largest_people_stay_in_their_order_and_the_others_are_counted(annotations):
    found = targets_of(annotations, np.array([0, 1]), crop_of(0, 0, 80, 100, 2), 2)
    np.testing.assert_allclose(found.boxes, [[20, 0, 40, 20], [40, 40, 70, 70], [0, 0, 10, 10]])
    assert found.num_cut == 2


def test_a_batch_holds_people_first_then_zeros_and_fillers_hold_nobody(annotations):
    rows = np.array([0, 1])
    data = querypose.get_config().data
    data.update(eval_short_side=160, longest_side=1000)
    geometry = RECIPE.rest_geometry(annotations.size[rows], data)
    found = targets_of(annotations, rows, geometry, 5)
    pixels = targets.empty_pixels(3, (224, 192), has_masks=False)
    members, budget = np.array([1, 0, -1]), PeopleBudget(1, 8)
    batch = targets.make_batch(annotations, RECIPE, rows, geometry, found, members, pixels, 5, budget)
    np.testing.assert_array_equal(batch.is_person.sum(-1), [1, 4, 0])
    np.testing.assert_array_equal(batch.image_id, [8, 7, FILLER_ID])
    np.testing.assert_array_equal(batch.valid_size, [[200, 160], [200, 160], [224, 192]])
    np.testing.assert_array_equal(batch.orig_size, [[100, 80], [100, 80], [224, 192]])
    np.testing.assert_allclose(batch.boxes[1, 1], [40, 0, 80, 40])
    np.testing.assert_allclose(batch.area[1, 1], 0.53 * 400 * 4)
    np.testing.assert_allclose(batch.keypoints[1, 1, 0], [60, 20, 1])
    np.testing.assert_array_equal(batch.keypoints[1, 2], 0)  # unlabelled
    np.testing.assert_allclose(batch.inv_affine[0], [[0.5, 0, 0], [0, 0.5, 0]])
    np.testing.assert_allclose(batch.inv_affine[2], np.eye(2, 3))
    for field in (batch.boxes, batch.keypoints, batch.area, batch.label):
        assert (field[~batch.is_person] == 0).all()
    assert batch.loss_mask is None and batch.person_scale is None, "no recipe has asked for them"
    optional = ("budget", "loss_mask", "person_scale", "whole")
    dtypes = {f.name: getattr(batch, f.name).dtype for f in dataclasses.fields(batch) if f.name not in optional}
    assert dtypes == dict(
        image=np.uint8, valid_size=np.int32, orig_size=np.int32, image_id=np.int32, inv_affine=np.float32,
        boxes=np.float32, keypoints=np.float32, area=np.float32, label=np.int32, is_person=np.bool_,
    )  # fmt: skip


def test_objects_of_a_picture_are_its_own(annotations):
    assert objects_of(annotations, 1) == slice(4, 5)
