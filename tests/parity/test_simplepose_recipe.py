"""The warp, the loss mask, the people of a file and the pictures at test time equal the reference."""

import json

import numpy as np
import pytest

from querypose_jax.recipes import fit
from querypose_jax.recipes.counted import counted_mask, read_people
from querypose_jax.recipes.cubic import cubic_warp
from querypose_jax.recipes.warp import (
    BORDER_COLOUR,
    Warp,
    inverse_affine,
    labelled_centre,
    loss_mask,
    move_joints,
    warp_mask,
    warp_matrix,
    warp_picture,
)
from querypose_jax.skeletons import Skeleton
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

PIXELS, LEVELS, GREY_LEVELS = 1e-4, 1e-3, 1
SMALLEST_AREA = 32 * 32


def mirrored_skeleton(mirror: list[int]) -> Skeleton:
    """Joints of which only left and right are known."""
    count = len(mirror)
    pairs = tuple((joint, other) for joint, other in enumerate(mirror) if joint < other)
    names = tuple(f"joint_{joint}" for joint in range(count))
    return Skeleton("mirrored", names, pairs, (0.1,) * count, (), (("all", tuple(range(count))),))


def drawn(draw: dict) -> Warp:
    numbers = (draw["rotate"], draw["scale"])
    return Warp(
        *map(np.float64, numbers),
        stretch=np.array([draw["stretch_x"], draw["stretch_y"]]),
        shift=np.array([draw["shift_x"], draw["shift_y"]]),
        mirror=np.bool_(draw["mirror"]),
    )


@pytest.mark.parametrize("path", goldens.files("sp_warp"))
def test_matrices_and_joints_equal_reference(path):
    golden = Golden(path)
    skeleton = mirrored_skeleton(golden.meta["mirror"])
    for number, case in enumerate(golden.meta["cases"]):
        joints, warp = golden[f"joints{number}"].astype(np.float64), drawn(case["draw"])
        size, canvas = case["width_height"][::-1], (case["size"], case["size"])
        matrix = warp_matrix(warp, labelled_centre(joints[..., :3], size), np.array(size), canvas)
        assert_close(matrix, golden[f"matrix{number}"], PIXELS, what=f"matrix{number}")
        moved = move_joints(joints[..., :3], np.tile(matrix, (len(joints), 1, 1)), warp.mirror, skeleton, canvas)
        stored = golden[f"joints_out{number}"]
        assert_close(moved[..., :2], stored[..., :2], PIXELS, what=f"joints{number}")
        assert np.array_equal(moved[..., 2], stored[..., 2])
        scales = joints[:, :, 3] * warp.size_factor
        if warp.mirror:
            scales = scales[:, golden.meta["mirror"]]
        assert_close(scales, stored[..., 3], PIXELS, what=f"scales of joints{number}")
        back = inverse_affine(matrix)
        inside = np.array([[10.0, 20.0], [100.0, 50.0]])
        there = inside @ matrix[:2, :2].T + matrix[:2, 2]
        assert_close(there @ back[:, :2].T + back[:, 2], inside, 1e-3)


@pytest.mark.parametrize("path", goldens.files("sp_warp"))
def test_warped_pictures_and_masks_equal_reference(path, record_property):
    golden = Golden(path)
    assert tuple(golden.meta["border"]) == BORDER_COLOUR
    for number, case in enumerate(golden.meta["cases"]):
        if not case["picture"]:
            continue
        matrix, canvas = golden[f"matrix{number}"].astype(np.float64), (case["size"], case["size"])
        picture, mask = golden[f"picture{number}"], golden[f"mask{number}"]
        exact = cubic_warp(picture, np.linalg.inv(matrix)[:2], canvas, BORDER_COLOUR)
        difference = assert_close(np.clip(exact, 0, 255), np.clip(golden[f"warped{number}"], 0, 255), LEVELS)
        record_property("warped", difference)
        warped = warp_picture(picture, matrix, canvas)
        assert_close(warped, golden[f"warped_uint8_{number}"], GREY_LEVELS)
        assert_close(warp_mask(mask, matrix, canvas), golden[f"mask_out{number}"], GREY_LEVELS)


@pytest.mark.parametrize("path", goldens.files("sp_targets"))
def test_loss_masks_equal_reference(path):
    golden = Golden(path)
    for scene in range(len(golden.meta["sizes"])):
        assert np.array_equal(loss_mask(golden[f"mask{scene}"]), golden[f"loss_mask{scene}"][0])


@pytest.mark.parametrize("path", goldens.files("sp_targets"))
def test_people_and_mask_of_a_file_equal_reference(path):
    golden = Golden(path)
    annotations, segments = json.loads(str(golden["ann_json"])), golden["ann_masks"]
    joints, scales = read_people(annotations, SMALLEST_AREA)
    stored = golden["ann_joints"]
    assert np.array_equal(joints.astype(np.float32), stored[..., :3])
    joint_scales = scales[:, None] * np.array(golden.meta["sigmas"])
    assert_close(joint_scales, stored[..., 3], PIXELS)
    mask = counted_mask(annotations, segments, segments.shape[1:], SMALLEST_AREA)
    assert np.array_equal(mask, golden["ann_mask"])


@pytest.mark.parametrize("path", goldens.files("sp_resize"))
def test_sizes_and_padding_equal_reference(path):
    golden = Golden(path)
    meta = golden.meta
    for rule in fit.RULES:
        for row, (height, width) in enumerate(golden["sizes"].tolist()):
            fitted = fit.fit_size(height, width, rule, meta["length"], meta["multiple"])
            stored = {name: golden[f"{rule}_{name}"][row] for name in ("resized", "pad", "padded", "scale")}
            assert fitted == tuple(tuple(stored[name].tolist()) for name in ("resized", "pad", "padded"))
            affine = fit.inverse_affine(fitted, height, width)
            assert_close(1 / affine[[0, 1], [0, 1]], stored["scale"], relative=1e-6)
            corner = np.array([*fitted.corner, 1])
            assert_close(affine @ corner, np.zeros(2), 1e-4)


@pytest.mark.parametrize("path", goldens.files("sp_resize"))
def test_resized_pictures_equal_reference(path):
    golden = Golden(path)
    picture = golden["picture"]
    for rule in fit.RULES:
        fitted = fit.fit_size(*picture.shape[:2], rule, golden.meta["picture_length"], golden.meta["multiple"])
        assert_close(fit.fit_picture(picture, fitted), golden[f"{rule}_input"], GREY_LEVELS)
