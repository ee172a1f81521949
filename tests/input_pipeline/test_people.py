"""Synthetic people: determinism, and annotations that say what is on the picture."""

import numpy as np
import pytest

from input_pipeline import people
from querypose_jax.skeletons import COCO

H, W = 160, 192


@pytest.fixture(scope="module")
def drawings():
    return [people.draw_people(5, "train", i, H, W, 3) for i in range(60)]


def test_a_picture_depends_on_seed_split_and_index_alone(drawings):
    again = people.draw_people(5, "train", 7, H, W, 3)
    np.testing.assert_array_equal(again.image, drawings[7].image)
    np.testing.assert_array_equal(again.keypoints, drawings[7].keypoints)
    for seed, split, index in ((6, "train", 7), (5, "val", 7), (5, "train", 8)):
        assert (people.draw_people(seed, split, index, H, W, 3).image != again.image).any()


def test_pictures_hold_one_to_three_people_of_the_wanted_height(drawings):
    counts = [len(d.boxes) for d in drawings]
    assert set(counts) == {1, 2, 3}
    rng = np.random.default_rng(0)
    bodies = np.concatenate([people.place_figures(rng, H, W, 1) for _ in range(200)])
    tall = bodies[..., 1].max(1) - bodies[..., 1].min(1)
    assert 55 < tall.min() < 75
    assert 105 < tall.max() < 135


def test_boxes_and_labelled_joints_lie_inside_the_picture(drawings):
    for drawing in drawings:
        assert (drawing.boxes >= 0).all()
        assert (drawing.boxes <= (W, H, W, H)).all()
        x, y, visibility = np.moveaxis(drawing.keypoints + np.array([0.5, 0.5, 0]), -1, 0)
        seen = visibility > 0
        assert ((x[seen] >= 0) & (x[seen] <= W) & (y[seen] >= 0) & (y[seen] <= H)).all()
        assert (drawing.keypoints[~seen] == 0).all()
        low, high = drawing.boxes[:, None, :2], drawing.boxes[:, None, 2:]
        point = np.stack([x, y], -1)
        assert ((point >= low - 1e-9) & (point <= high + 1e-9)).all(-1)[seen].all()


def test_left_is_on_the_right_of_the_picture_because_figures_face_the_viewer(drawings):
    keypoints = np.concatenate([d.keypoints for d in drawings])
    for left, right in ((5, 6), (11, 12), (1, 2)):
        both = (keypoints[:, left, 2] > 0) & (keypoints[:, right, 2] > 0)
        assert (keypoints[both, left, 0] > keypoints[both, right, 0]).all()
    assert [COCO.names[5], COCO.names[6]] == ["left_shoulder", "right_shoulder"]


def test_a_joint_covered_by_the_figure_in_front_is_hidden_and_one_in_the_open_visible():
    behind, front = people._upright_joints(H, W), people._upright_joints(H, W)
    front = front + np.array([8, 0])
    canvas = people._background(np.random.default_rng(0), H, W)
    pen = people.ImageDraw.Draw(canvas)
    look = people._random_look(np.random.default_rng(1))
    for owner, body in enumerate((behind, front), start=1):
        people._draw_figure(pen, body, look, owner)
    visibility = people._with_visibility(np.stack([behind, front]), np.asarray(canvas.getchannel("A")), H, W)[..., 2]
    assert (visibility[1] == 2).all()
    hip_left, wrist_right = COCO.names.index("left_hip"), COCO.names.index("right_wrist")
    assert visibility[0, hip_left] == 1
    assert visibility[0, wrist_right] == 2


def test_a_joint_outside_of_the_picture_is_unlabelled():
    body = people._upright_joints(H, W) + np.array([0, 0.6 * H])
    labelled = people._with_visibility(body[None], np.ones((2 * H, 2 * W)), H, W)[0]
    ankle, nose = COCO.names.index("left_ankle"), COCO.names.index("nose")
    np.testing.assert_array_equal(labelled[ankle], 0)
    assert labelled[nose, 2] == 2
    np.testing.assert_allclose(labelled[nose, :2], body[nose] - 0.5)


def test_most_joints_are_visible_and_every_kind_of_visibility_occurs(drawings):
    found = np.concatenate([d.keypoints[..., 2].ravel() for d in drawings])
    assert 0.85 < (found == 2).mean() < 0.99
    assert (found == 1).mean() > 0.005
    assert (found == 0).mean() > 0.005
