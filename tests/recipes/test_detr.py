"""The recipe of ED-Pose and Group Pose by hand and by its properties."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from configs import common
from querypose_jax.recipes import detr
from querypose_jax.recipes.detr import Geometry
from querypose_jax.skeletons import COCO

SIDES = st.integers(1, 3000)


def one(original, flip=False, resized=None, crop=None, final=None) -> Geometry:
    """A geometry of one sample; sizes h, w."""
    resized = resized or original
    crop = crop or (0, 0, resized[1], resized[0])
    final = final or (crop[3], crop[2])
    return Geometry(*(np.array([field]) for field in (original, flip, resized, crop, final)))


def random_geometry(count: int, seed: int = 0) -> Geometry:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(200, 700, (count, 2))
    return detr.draw_geometry(rng.random((count, detr.DRAWS)), sizes, common.get_config().data)


def random_people(geometry: Geometry, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """One person per sample, joints labelled and well inside of the picture, and the box around them."""
    rng = np.random.default_rng(seed)
    wide = geometry.original[:, None, ::-1]
    xy = rng.uniform(0.1, 0.9, (len(geometry.flip), COCO.num_keypoints, 2)) * wide
    keypoints = np.concatenate([xy, rng.integers(1, 3, (*xy.shape[:2], 1))], -1)
    return keypoints, np.concatenate([xy.min(1), xy.max(1)], -1)


@settings(deadline=None)
@given(SIDES, SIDES, st.integers(1, 1400), st.one_of(st.integers(400, 2000), st.just(np.inf)))
def test_sizes_follow_the_rule_in_exact_fractions(height, width, short, longest):
    low, high = min(height, width), max(height, width)
    assume(high < 2 * low * longest)  # thinner ones have a test of their own
    if Fraction(high, low) * short > longest:
        short = round(Fraction(longest) * low / high)
    long = short * high // low
    resized = detr.resized_shapes(np.array([[height, width]]), short, longest)
    np.testing.assert_array_equal(resized, [(short, long) if height < width else (long, short)])


def test_the_thinnest_picture_keeps_a_pixel_and_the_limit():
    resized = detr.resized_shapes(np.array([[1, 60_000], [60_000, 2]]), 800, 1333)
    np.testing.assert_array_equal(resized, [[1, 1333], [1333, 1]])


def test_sizes_halfway_are_rounded_to_even():
    resized = detr.resized_shapes(np.array([[25, 100], [35, 100]]), 800, 50)  # 12.5 and 17.5
    np.testing.assert_array_equal(resized, [[12, 48], [18, 51]])


def test_flip_of_joints_is_one_pixel_off_that_of_boxes():
    geometry = one((40, 100), flip=True)
    np.testing.assert_array_equal(detr.move_boxes(np.array([[10.0, 5, 30, 25]]), geometry), [[70, 5, 90, 25]])
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 5] = (0, 4, 2)  # left shoulder on the first pixel
    moved = detr.move_keypoints(keypoints, geometry, COCO)
    np.testing.assert_array_equal(moved[0, 6], (99, 4, 2))
    assert (np.delete(moved[0], 6, axis=0) == 0).all()


def test_a_crop_clamps_joints_and_keeps_their_labels():
    geometry = one((100, 100), resized=(200, 200), crop=(50, 20, 100, 80), final=(160, 200))
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, :3] = ((25, 10, 1), (3, 90, 2), (50, 30, 2))  # on the corner, outside to the left and below, inside
    moved = detr.move_keypoints(keypoints, geometry, COCO)[0]
    np.testing.assert_array_equal(moved[:3], [(0, 0, 1), (0, 160, 2), (100, 80, 2)])
    assert (moved[3:] == 0).all()


def test_without_a_crop_joints_beyond_the_border_stay_there():
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 0] = (-3, 102, 2)
    moved = detr.move_keypoints(keypoints, one((100, 100), final=(200, 200)), COCO)
    np.testing.assert_array_equal(moved[0, 0], (-6, 204, 2))


def test_area_is_the_annotated_one_until_a_crop_replaces_it():
    box, area = np.array([[10.0, 10, 30, 50]]), np.array([333.0])
    whole = one((100, 100), final=(200, 300))
    np.testing.assert_allclose(detr.move_area(area, box, whole), [333 * 6])
    np.testing.assert_allclose(detr.move_area(np.array([np.nan]), box, whole), [20 * 40 * 6])
    cropped = one((100, 100), crop=(20, 20, 50, 50), final=(100, 100))
    np.testing.assert_allclose(detr.move_area(area, box, cropped), [10 * 30 * 4])


def test_a_crop_of_the_whole_resized_picture_is_a_crop():
    assert one((100, 100), resized=(200, 200)).is_cropped == [True]
    assert one((100, 100), final=(200, 200)).is_cropped == [False]
    assert one((100, 100), crop=(0, 0, 99, 100)).is_cropped == [True]


def test_people_outside_of_the_crop_are_dropped_however_thin_the_rest():
    geometry = one((100, 100), crop=(50, 50, 50, 50)).at(np.zeros(3, int))
    boxes = np.array([[0.0, 0, 50, 100], [0, 0, 50.000001, 51], [60, 60, 60, 80]])
    np.testing.assert_array_equal(detr.is_box_left(detr.move_boxes(boxes, geometry)), [False, True, False])


def test_targets_have_joints_and_a_box_on_the_picture_and_are_no_crowd():
    sound, beside = (10.0, 10, 30, 30), (100.0, 10, 130, 30)
    corners = np.array([sound, sound, sound, beside, (90.0, 10, 130, 30)])
    facts = SimpleNamespace(
        is_crowd=np.array([False, True, False, False, False]),
        num_keypoints=np.array([1, 3, 0, 5, 5]),
        bbox=np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], -1),
        size=np.array([[50, 100]]),
        picture_of_object=np.zeros(5, int),
    )
    verdict = detr.is_target(facts, common.get_config().data)
    np.testing.assert_array_equal(verdict, [True, False, False, False, True])


def test_pictures_are_used_where_any_annotation_counts_joints():
    facts = SimpleNamespace(
        num_keypoints=np.array([0, 0, 2, 0]), picture_of_object=np.array([0, 1, 1, 3]), size=np.ones((5, 2), int)
    )
    usable = detr.is_usable(facts, np.zeros(4, bool))
    np.testing.assert_array_equal(usable, [False, True, False, False, False])


def test_inverse_affine_takes_joints_back_through_flips_and_crops():
    geometry = random_geometry(400)
    assert geometry.flip.any() and geometry.is_cropped.any() and not geometry.is_cropped.all()
    keypoints, _ = random_people(geometry)
    moved = detr.move_keypoints(keypoints, geometry, COCO).astype(np.float64)
    inside = ((moved[..., :2] > 0) & (moved[..., :2] < geometry.final[:, None, ::-1])).all(-1)
    back = np.einsum("sij,snj->sni", detr.inverse_affine(geometry), np.insert(moved[..., :2], 2, 1.0, axis=-1))
    mirrored = np.where(geometry.flip[:, None, None], keypoints[:, list(COCO.flip_index)], keypoints)
    np.testing.assert_allclose(back[inside], mirrored[inside][:, :2], rtol=0, atol=1e-3)
    assert inside.mean() > 0.5


def test_flipping_twice_is_the_identity():
    flipped = one((37, 53), flip=True)
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    mirrored = detr.transform_picture(Image.fromarray(pixels), flipped.at(0))
    assert not np.array_equal(mirrored, pixels)
    np.testing.assert_array_equal(detr.transform_picture(mirrored, flipped.at(0)), pixels)
    keypoints, boxes = random_people(flipped)
    once, twice = keypoints, boxes
    for _ in range(2):
        once, twice = detr.move_keypoints(once, flipped, COCO), detr.move_boxes(twice, flipped)
    np.testing.assert_allclose(once, keypoints, atol=1e-5)
    np.testing.assert_allclose(twice, boxes, atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_joints_without_resizing_stay_on_their_pixels(flip):
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[23, 43] = 255
    geometry = one((60, 90), flip, crop=(30, 10, 50, 40))
    moved = np.asarray(detr.transform_picture(Image.fromarray(pixels), geometry.at(0)))[..., 0]
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 0] = (43, 23, 2)
    x, y, _ = detr.move_keypoints(keypoints, geometry, COCO)[0, 0].astype(int)
    assert moved[y, x] == 255


def test_nothing_depends_on_the_order_or_number_of_samples():
    rng = np.random.default_rng(2)
    uniform, sizes = rng.random((60, detr.DRAWS)), rng.integers(100, 900, (60, 2))
    data = common.get_config().data
    geometry = detr.draw_geometry(uniform, sizes, data)
    keypoints, boxes = random_people(geometry)
    area = rng.uniform(100, 1000, 60)

    def recipe(samples: np.ndarray) -> tuple:
        own = detr.draw_geometry(uniform[samples], sizes[samples], data)
        joints = detr.move_keypoints(keypoints[samples], own, COCO)
        moved_area = detr.move_area(area[samples], boxes[samples], own)
        return *own, joints, detr.move_boxes(boxes[samples], own), moved_area, detr.inverse_affine(own)

    everything, order = recipe(np.arange(60)), rng.permutation(60)
    for whole, shuffled in zip(everything, recipe(order), strict=True):
        np.testing.assert_array_equal(whole[order], shuffled)
    for whole, alone in zip(everything, recipe(np.array([7])), strict=True):
        np.testing.assert_array_equal(whole[7:8], alone)


def test_draws_reach_both_ends_of_the_released_ranges():
    data = common.get_config().data
    count = 20_000
    sizes = np.tile([[480, 640], [640, 427]], (count // 2, 1))
    geometry = detr.draw_geometry(np.random.default_rng(1).random((count, detr.DRAWS)), sizes, data)
    cropped = geometry.is_cropped
    assert abs(geometry.flip.mean() - 0.5) < 0.02
    assert abs(cropped.mean() - 0.5) < 0.02
    assert set(geometry.resized[cropped].min(-1)) == {400, 500, 600}
    x0, y0, w, h = geometry.crop[cropped].T
    assert {w.min(), h.min(), w.max(), h.max()} == {384, 600}
    room_h, room_w = (geometry.resized[cropped] - np.stack([h, w], -1)).T
    assert ((x0 <= room_w) & (y0 <= room_h)).all() and (x0 == room_w).any() and (y0 == 0).any()
    assert set(geometry.final[~cropped].min(-1)) == set(data.short_sides)


def test_no_samples_and_no_people_are_fine():
    geometry = detr.draw_geometry(np.zeros((0, detr.DRAWS)), np.zeros((0, 2), int), common.get_config().data)
    assert detr.move_boxes(np.zeros((0, 4)), geometry).shape == (0, 4)
    assert detr.move_keypoints(np.zeros((0, 17, 3)), geometry, COCO).shape == (0, 17, 3)
    assert detr.move_area(np.zeros(0), np.zeros((0, 4)), geometry).shape == (0,)
    assert detr.rest_geometry(np.zeros((0, 2), int), common.get_config().data).final.shape == (0, 2)
