"""Augmentation beyond a recipe's own: off it changes nothing, on it moves pixels, people and coordinates alike."""

import numpy as np
import pytest
from PIL import Image

from configs import synthetic_tiny
from configs.grouppose import synthetic_tiny as grouppose_tiny
from configs.simplepose import synthetic_tiny as simplepose_tiny
from querypose_jax.recipes import RECIPES, get_recipe, recipe_of
from querypose_jax.recipes.augment import DRAWS, OFF, change_colours, draw, is_on, nothing, turn_and_scale
from querypose_jax.recipes.recipe import People
from querypose_jax.skeletons import COCO

TINY = {"querypose": synthetic_tiny, "detr": grouppose_tiny, "affine": simplepose_tiny}
SIZES = np.array([[160, 192], [192, 160], [100, 300]])


def data_of(recipe: str, **augment):
    data = TINY[recipe].get_config().data
    assert data.recipe == recipe
    data.augment.update(augment)
    return data


@pytest.mark.parametrize("recipe", RECIPES)
def test_off_is_the_recipe_itself(recipe):
    data = data_of(recipe)
    assert not is_on(data.augment)
    assert recipe_of(data) is get_recipe(recipe)
    assert {key for key in data.augment if key != "blur_sigmas"} == set(OFF)
    for key, value in dict(rotate=1.0, scales=(0.9, 1.0), brightness=0.1, hue=0.1, blur=0.1).items():
        assert recipe_of(data_of(recipe, **{key: value})).extra_draws == DRAWS


@pytest.mark.parametrize("recipe", RECIPES)
def test_people_lie_where_the_pixels_go_and_come_back(recipe):
    """A joint is marked by a dot; after everything the dot is at the joint, and `inverse_affine` leads back."""
    data = data_of(recipe, rotate=30.0, scales=(0.8, 1.0))
    data.update(flip=0.5)
    if recipe == "affine":
        data.update(scales=(0.9, 1.1), shift=10)
    sized = np.tile(SIZES[:1], (6, 1))
    changed = recipe_of(data)
    uniform = np.random.default_rng(0).random((6, changed.draws + changed.extra_draws))
    geometry = changed.draw_geometry(uniform, sized, data)
    joints = np.array([[60, 50, 2], [120, 60, 2], [96, 80, 2], [70, 110, 1]], np.float64)
    whole = np.zeros((6, 17, 3))
    whole[:, 5] = joints[0]
    boxes = np.tile(np.array([50.0, 40, 130, 120]), (6, 1))
    moved = changed.move_people(People(boxes, whole, np.full(6, 900.0), np.arange(6)), geometry, COCO)
    pixels = np.zeros((160, 192, 3), np.uint8)
    pixels[48:53, 58:63] = 255
    centre = 0.5 - changed.half_pixel
    back = changed.inverse_affine(geometry)
    for s in range(6):
        found = np.asarray(changed.transform_picture(Image.fromarray(pixels), geometry.at(s)))[..., 0].astype(float)
        found = np.where(found > 180, found, 0)
        y, x = (found.sum(axis) @ (np.arange(found.shape[1 - axis]) + 0.5) / found.sum() for axis in (1, 0))
        [j] = np.flatnonzero(moved.keypoints[s, :, 2])
        np.testing.assert_allclose(moved.keypoints[s, j, :2] + centre, [x, y], atol=0.4)
        xy = back[s] @ [*moved.keypoints[s, j, :2], 1]
        assert j in (5, 6)
        if recipe != "detr" or j == 5:  # its flip of joints is a pixel off that of boxes
            np.testing.assert_allclose(xy - changed.half_pixel, joints[0, :2], atol=0.01)
        assert (moved.boxes[s, :2] <= moved.keypoints[s, j, :2] + 1).all() and moved.is_left[s]
    assert {int(np.flatnonzero(k[:, 2])[0]) for k in moved.keypoints} == {5, 6}  # some were mirrored


def test_a_quarter_turn_by_hand():
    """Of a square picture of 100 pixels: the top right corner goes to the bottom right, clockwise."""
    [matrix] = turn_and_scale(np.array([90.0]), np.array([1.0]), np.array([[100, 100]]))
    np.testing.assert_allclose(matrix @ [100, 0, 1], [100, 100, 1], atol=1e-9)
    [half] = turn_and_scale(np.array([0.0]), np.array([0.5]), np.array([[100, 200]]))
    np.testing.assert_allclose(half @ [0, 0, 1], [50, 25, 1])


def test_the_draws_of_the_recipe_stay_and_colours_change_no_geometry():
    data = data_of("querypose", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=1.0)
    changed, plain = recipe_of(data), get_recipe("querypose")
    uniform = np.random.default_rng(1).random((3, changed.draws + DRAWS))
    inner = changed.draw_geometry(uniform, SIZES, data).inner
    expected = plain.draw_geometry(uniform[:, : plain.draws], SIZES, data)
    for a, b in zip(inner, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_who_leaves_the_picture_loses_joints_and_box():
    data = data_of("querypose", scales=(2.0, 2.0))
    data.flip = 0.0
    changed = recipe_of(data)
    geometry = changed.draw_geometry(np.full((1, changed.draws + DRAWS), 0.99), SIZES[:1], data)
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 0], keypoints[0, 1] = (20, 20, 2), (96, 80, 2)
    moved = changed.move_people(
        People(np.array([[10.0, 10, 30, 30]]), keypoints, np.array([9.0]), np.arange(1)), geometry, COCO
    )
    assert not moved.is_left[0]
    assert np.flatnonzero(moved.keypoints[0, :, 2]).tolist() == [1]


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation", "hue", "blur"])
def test_each_colour_key_changes_pixels_and_nothing_else_does(key):
    rng = np.random.default_rng(2)
    picture = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    data = data_of("querypose", **{key: 0.5 if key == "hue" else 1.0})
    extra = draw(rng.random((3, DRAWS)), SIZES, data.augment)
    plain = nothing(SIZES)
    for s in range(3):
        one, none = (type(extra)(*(field[s] for field in x)) for x in (extra, plain))
        assert (np.asarray(change_colours(picture, one)) != np.asarray(picture)).any()
        assert change_colours(picture, none) is picture
