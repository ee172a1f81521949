"""Pictures and people go the same way, in training and at test time, and back; colours change as drawn."""

import numpy as np
import pytest
from PIL import Image

from configs.simplepose import defaults
from querypose_jax.recipes.affine import RECIPE, aim
from querypose_jax.recipes.recipe import People
from querypose_jax.recipes.warp import (
    BORDER_COLOUR,
    DRAWS,
    Colours,
    change_colours,
    draw_joint_seeds,
    labelled_centre,
    loss_mask,
    shift_joints,
    warp_mask,
    warped_loss_mask,
)
from querypose_jax.skeletons import COCO

SIZES = np.array([[90, 120], [100, 64]])  # h, w


def data(**changes):
    config = defaults.get_config().data
    config.update(canvases=((128, 160),), shift=10, eval_length=128, eval_multiple=32, smallest_area=100.0, **changes)
    return config


def people() -> People:
    """One on each picture; the nose lies on a whole pixel."""
    keypoints = np.zeros((2, 17, 3))
    keypoints[:, 0] = [[40, 30, 2], [20, 60, 2]]
    keypoints[:, 1] = [[50, 36, 1], [30, 50, 2]]  # the left eye
    boxes = np.array([[30.0, 20, 70, 80], [10, 30, 50, 90]])
    return People(boxes, keypoints, np.array([1200.0, np.nan]), np.array([3, 8]))


def geometries(seed: int = 0):
    """Drawn and aimed, then those of evaluation by both rules."""
    uniform = np.random.default_rng(seed).random((2, DRAWS))
    drawn = RECIPE.draw_geometry(uniform, SIZES, data())
    centres = np.array([labelled_centre(p[None], tuple(s)) for p, s in zip(people().keypoints, SIZES, strict=True)])
    rest = [RECIPE.rest_geometry(SIZES, data(eval_resize=rule)) for rule in ("long", "height")]
    return [aim(drawn, centres), *rest]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_bright_pixel_under_a_joint_goes_where_the_joint_goes(which):
    geometry, persons = geometries()[which], people()
    moved = RECIPE.move_people(persons, geometry, COCO)
    back = RECIPE.inverse_affine(geometry)
    for sample, (height, width) in enumerate(SIZES.tolist()):
        x, y = persons.keypoints[sample, 0, :2].astype(int)
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
        picture = np.asarray(RECIPE.transform_picture(Image.fromarray(pixels), geometry.at(sample)))
        assert picture.shape[:2] == tuple(geometry.final[sample])
        bright = (picture.min(-1) > 128) & (np.abs(picture.astype(int) - BORDER_COLOUR).sum(-1) > 60)
        found = np.argwhere(bright)[:, ::-1].mean(0)
        assert np.abs(found - moved.keypoints[sample, 0, :2]).max() < 0.75
        again = back[sample, :, :2] @ moved.keypoints[sample, 0, :2] + back[sample, :, 2]
        np.testing.assert_allclose(again, (x, y), atol=1e-3)


def test_mirroring_exchanges_left_and_right_and_people_grow_with_the_picture():
    uniform = np.full((2, DRAWS), 0.5)
    uniform[:, 6] = (0.0, 0.9)  # the first one is mirrored
    geometry = RECIPE.draw_geometry(uniform, SIZES, data(scales=(2.0, 2.0)))
    moved = RECIPE.move_people(people(), geometry, COCO)
    assert moved.keypoints[0, 1].tolist() == [0, 0, 0] and moved.keypoints[0, 2, 2] == 1, "the right eye"
    assert moved.keypoints[1, 1, 2] == 2, "the left eye"
    np.testing.assert_allclose(moved.scale, 2 * np.sqrt([40 * 60, 40 * 60]), rtol=1e-6)


def test_small_people_and_joints_beyond_the_canvas_lose_their_labels():
    geometry, persons = geometries()[0], people()
    small = persons._replace(area=np.array([100.0, 100.5]))
    moved = RECIPE.move_people(small, geometry, COCO)
    assert not moved.keypoints[0].any() and moved.keypoints[1].any()
    persons.keypoints[:, 0, :2] = 5000
    moved = RECIPE.move_people(persons, geometry, COCO)
    assert not moved.keypoints[:, 0].any() and moved.keypoints[:, 1:].any()


def test_the_middle_of_the_joints_goes_to_the_middle_of_the_canvas_but_for_the_shift():
    """Where nothing is turned or mirrored."""
    uniform = np.full((2, DRAWS), 0.5)
    uniform[:, 6] = 0.9
    centre = np.array([[45, 33], [25, 55]])
    geometry = aim(RECIPE.draw_geometry(uniform, SIZES, data()), centre)
    there = np.einsum("sij,sj->si", geometry.matrix[:, :2, :2], centre) + geometry.matrix[:, :2, 2]
    np.testing.assert_allclose(there, np.tile([(160 - 1) / 2, (128 - 1) / 2], (2, 1)), atol=1e-9)


def test_a_mask_that_leaves_nothing_out_is_what_warping_it_gives():
    matrix, canvas = geometries()[0].matrix[0], (128, 160)
    full = np.full((90, 120), 255, np.uint8)
    assert np.array_equal(warped_loss_mask(full, matrix, canvas), loss_mask(warp_mask(full, matrix, canvas)))
    assert np.array_equal(warped_loss_mask(None, matrix, canvas), np.ones((32, 40), bool))
    full[20:60, 30:80] = 0
    partly = warped_loss_mask(full, matrix, canvas)
    assert 0 < partly.mean() < 1


def test_colours_are_left_alone_made_grey_or_moved():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    nothing = Colours(np.bool_(False), np.zeros(3))
    assert np.array_equal(change_colours(picture, nothing), picture)
    grey = change_colours(picture, nothing._replace(grey=np.bool_(True)))
    assert (grey == grey[..., :1]).all()
    darker = change_colours(picture, nothing._replace(hsv=np.array([0.0, 0.0, -30.0])))
    assert (darker.max(-1).astype(int) == np.maximum(picture.max(-1).astype(int) - 30, 0)).all(), "value is the maximum"


def test_shifted_joints_move_to_the_lower_right_only_each_by_its_own_amount():
    joints = people().keypoints
    seed, number = np.array([7, 7], np.uint64), people().number
    moved = shift_joints(joints, seed, number)
    by = (moved - joints)[..., :2]
    assert (by >= 0.5).all() and (by < 1.5).all()
    assert len(np.unique(by)) == by.size
    assert np.array_equal(moved[..., 2], joints[..., 2])
    assert np.array_equal(shift_joints(joints, seed, number), moved)
    again = shift_joints(joints[1:], seed[1:], number[1:])
    assert np.array_equal(again[0], moved[1]), "amounts follow from the sample and the person, not from the company"
    assert not np.array_equal(shift_joints(joints, seed + np.uint64(1), number), moved)
    assert np.array_equal(shift_joints(joints, 0 * seed, number), joints)


def test_as_many_samples_as_configured_shift_joints_and_evaluation_never_does():
    uniform = np.random.default_rng(0).random((4000, DRAWS))
    assert 0.17 < (draw_joint_seeds(uniform, data()) > 0).mean() < 0.23
    assert not draw_joint_seeds(uniform, data(joint_shift=0.0)).any()
    assert not RECIPE.rest_geometry(SIZES, data(joint_shift=1.0)).joint_seed.any()


def test_people_of_a_shifted_sample_move_with_their_joints_shifted():
    uniform = np.full((2, DRAWS), 0.5)
    plain, shifted = (RECIPE.draw_geometry(uniform, SIZES, data(joint_shift=share)) for share in (0.0, 1.0))
    expected = people()._replace(keypoints=shift_joints(people().keypoints, shifted.joint_seed, people().number))
    found = RECIPE.move_people(people(), shifted, COCO)
    assert np.array_equal(found.keypoints, RECIPE.move_people(expected, plain, COCO).keypoints)
    assert not np.array_equal(found.keypoints, RECIPE.move_people(people(), plain, COCO).keypoints)


def test_losses_do_not_count_on_small_people_and_in_crowds():
    """Identity but for the place on the canvas: cells of the mask are those of the segments."""
    one = np.full((1, DRAWS), 0.5)
    one[:, 6] = 0.9  # not mirrored
    drawn = RECIPE.draw_geometry(one, np.array([[64, 80]]), data(scales=(1.0, 1.0), stretches=(1.0, 1.0)))
    geometry = aim(drawn, np.array([[39.5, 31.5]])).at(0)
    somebody, small, crowd = np.zeros((3, 64, 80), bool)
    somebody[8:32, 8:32], small[40:56, 8:24], crowd[0:48, 16:72] = True, True, True
    facts = [dict(iscrowd=0, num_keypoints=9, area=576.0), dict(iscrowd=0, num_keypoints=9, area=100.0)]
    facts.append(dict(iscrowd=1, num_keypoints=0, area=9e9))
    mask = RECIPE.loss_mask(facts, lambda: [somebody, small, crowd], geometry)
    corner = geometry.matrix[:2, 2].astype(int) // 4
    inside = mask[corner[1] : corner[1] + 16, corner[0] : corner[0] + 20]
    left_out = small | (crowd & ~somebody)
    assert np.array_equal(inside, ~left_out[::4, ::4])
    assert mask.sum() == mask.size - left_out[::4, ::4].sum(), "beyond the border everything counts"
    with pytest.raises(ZeroDivisionError):  # the rule itself: segments are read where somebody is left out
        RECIPE.loss_mask(facts, lambda: 1 // 0, geometry)
    assert RECIPE.loss_mask(facts[:1], lambda: 1 // 0, geometry).all()
