"""Flip, crop and resize by hand, and their agreement with the pixels and with the way back."""

import numpy as np
import pytest
from PIL import Image

from configs import querypose as defaults
from querypose_jax.recipes import querypose
from querypose_jax.recipes.geometry import Geometry
from querypose_jax.skeletons import COCO


def one(original, flip=False, resized=None, crop=None, final=None) -> Geometry:
    """A geometry of one sample; sizes h, w."""
    resized = resized or original
    crop = crop or (0, 0, resized[1], resized[0])
    final = final or (crop[3], crop[2])
    return Geometry(*(np.array([field]) for field in (original, flip, resized, crop, final)))


def test_flip_mirrors_boxes_and_exchanges_left_and_right():
    geometry = one((40, 100), flip=True)
    np.testing.assert_allclose(querypose.move_boxes(np.array([[10.0, 5, 30, 25]]), geometry), [[70, 5, 90, 25]])
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 5] = (9.5, 4.5, 2)  # left shoulder, continuous (10, 5)
    moved = querypose.move_keypoints(keypoints, geometry, COCO)
    np.testing.assert_allclose(moved[0, 6], (90, 5, 2))
    assert (np.delete(moved[0], 6, axis=0) == 0).all()


def test_crop_clips_boxes_and_takes_the_label_of_what_it_cuts_off():
    geometry = one((100, 100), resized=(200, 200), crop=(50, 20, 100, 80), final=(160, 200))
    box = querypose.move_boxes(np.array([[0.0, 0, 50, 50]]), geometry)
    np.testing.assert_allclose(box, [[0, 0, 100, 160]])  # (100 - 50) * 2, (100 - 20) * 2
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, :3] = ((24.5, 9.5, 1), (24.0, 9.5, 2), (74.5, 49.5, 2))  # on the corner, left of it, other corner
    moved = querypose.move_keypoints(keypoints, geometry, COCO)[0]
    np.testing.assert_allclose(moved[0], (0, 0, 1))
    np.testing.assert_allclose(moved[1], (0, 0, 0))
    np.testing.assert_allclose(moved[2], (200, 160, 2))


def test_boxes_that_are_clipped_away_are_found():
    geometry = one((100, 100), crop=(50, 50, 50, 50))
    geometry = geometry.at(np.zeros(3, int))
    boxes = querypose.move_boxes(np.array([[0.0, 0, 50, 100], [0, 0, 51, 51], [60, 60, 60, 80]]), geometry)
    np.testing.assert_array_equal(querypose.is_box_left(boxes), [False, True, False])


@pytest.mark.parametrize("flip", [False, True])
def test_points_move_with_the_pixels_under_them(flip):
    height, width = 60, 90
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[20:26, 40:46] = 255  # centre (43, 23)
    geometry = one((height, width), flip, resized=(120, 180), crop=(30, 10, 120, 100), final=(150, 180))
    moved = np.asarray(querypose.transform_picture(Image.fromarray(pixels), geometry.at(0))).astype(float)[..., 0]
    assert moved.shape == (150, 180)
    y, x = np.indices(moved.shape) + 0.5
    centre = np.array([(moved * x).sum(), (moved * y).sum()]) / moved.sum()
    np.testing.assert_allclose(querypose.move_points(np.array([[43.0, 23.0]]), geometry)[0], centre, atol=0.05)


def test_inverse_affine_leads_back_to_original_pixels():
    rng = np.random.default_rng(0)
    geometry = querypose.draw_geometry(
        rng.random((200, 8)), rng.integers(300, 700, (200, 2)), defaults.get_config().data
    )
    points = rng.uniform(0, 300, (200, 5, 2))
    moved = querypose.move_points(points, geometry)
    inverse = querypose.inverse_affine(geometry)
    back = np.einsum("sij,snj->sni", inverse, np.concatenate([moved, np.ones((200, 5, 1))], -1))
    np.testing.assert_allclose(back, points, atol=1e-2)


def test_area_grows_as_a_box_does():
    geometry = one((100, 50), resized=(200, 100), crop=(0, 0, 100, 100), final=(50, 50))
    np.testing.assert_allclose(querypose.area_scale(geometry), [1.0])
    box = querypose.move_boxes(np.array([[10.0, 10, 20, 30]]), geometry)[0]
    np.testing.assert_allclose((box[2:] - box[:2]).prod(), 200)


def test_draws_stay_in_the_official_ranges_and_reach_their_ends():
    data = defaults.get_config().data
    count = 20_000
    sizes = np.tile([[480, 640], [640, 427]], (count // 2, 1))
    geometry = querypose.draw_geometry(np.random.default_rng(1).random((count, 8)), sizes, data)
    cropped = (geometry.resized != sizes).any(-1)
    assert abs(geometry.flip.mean() - 0.5) < 0.02
    assert abs(cropped.mean() - 0.5) < 0.02
    assert abs((geometry.flip & cropped).mean() - 0.25) < 0.02
    assert set(geometry.resized[cropped].min(-1)) == {400, 500, 600}
    x0, y0, w, h = geometry.crop[cropped].T
    assert {w.min(), h.min(), w.max(), h.max()} == {384, 600}
    room_h, room_w = (geometry.resized[cropped] - np.stack([h, w], -1)).T
    assert (x0 <= room_w).all()
    assert (y0 <= room_h).all()
    assert (x0 == room_w).any()
    assert (y0 == 0).any()
    whole = geometry.final[~cropped]
    assert set(whole.min(-1)) == set(data.short_sides)
    assert geometry.final.max() <= data.longest_side


def test_a_picture_smaller_than_the_crop_is_kept_whole_in_that_direction():
    uniform = np.array([[0.9, 0.1, 0, 0.999, 0.999, 0.999, 0.999, 0]])
    data = defaults.get_config().data
    data.update(crop_short_sides=(200,), short_sides=(480,))
    geometry = querypose.draw_geometry(uniform, np.array([[100, 300]]), data)
    np.testing.assert_array_equal(geometry.resized, [[200, 600]])
    np.testing.assert_array_equal(geometry.crop, [[0, 0, 600, 200]])
