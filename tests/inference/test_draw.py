import numpy as np
from PIL import Image

from querypose_jax.inference.draw import CENTRE, LEFT, RIGHT, draw_poses, joint_opacity, limb_colour
from querypose_jax.skeletons import COCO

GREY = (128, 128, 128)


def standing(centre: float = 100.0) -> np.ndarray:
    """One frontal person, [1, 17, 2]: left joints to the right of `centre`, as seen by the camera."""
    side = [0, 5, -5, 10, -10, 20, -20, 30, -30, 35, -35, 14, -14, 15, -15, 15, -15]
    height = [20, 15, 15, 18, 18, 40, 40, 70, 70, 95, 95, 100, 100, 140, 140, 180, 180]
    return np.array([[[centre + x, y] for x, y in zip(side, height, strict=True)]], float)


def draw(keypoints: np.ndarray, joint_scores: np.ndarray, scores=(0.9,), boxes=None, threshold=0.3) -> np.ndarray:
    picture = Image.new("RGB", (200, 200), GREY)
    return np.asarray(draw_poses(picture, boxes, keypoints, joint_scores, np.array(scores), COCO, threshold))


def close(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return np.abs(pixel.astype(int) - colour).max() < 40


def test_left_and_right_limbs_have_their_colours():
    pixels = draw(standing(), np.ones((1, 17)))
    assert close(pixels[160, 115], LEFT)
    assert close(pixels[160, 85], RIGHT)
    assert close(pixels[40, 100], CENTRE)  # between the shoulders
    assert limb_colour(("nose", "left_eye")) == LEFT
    assert limb_colour(("neck", "head")) == CENTRE


def test_unsure_joints_are_fainter_and_unlabelled_ones_absent():
    assert joint_opacity(0) == 0 < joint_opacity(0.1) < joint_opacity(0.5) < joint_opacity(0.9) == 1
    scores = np.ones((1, 17))
    scores[0, 15], scores[0, 16] = 0.2, 0.0
    pixels = draw(standing(), scores).astype(int)
    sure = np.abs(draw(standing(), np.ones((1, 17))).astype(int)[160, 115] - GREY).sum()
    assert 0 < np.abs(pixels[160, 115] - GREY).sum() < 0.6 * sure
    assert (pixels[150:190, 60:95] == GREY).all()


def test_people_below_the_threshold_are_not_drawn():
    assert (draw(standing(), np.ones((1, 17)), scores=(0.29,), boxes=np.array([[50.0, 5, 150, 195]])) == GREY).all()


def test_box_and_score_are_drawn_where_boxes_are_given():
    with_box = draw(standing(), np.ones((1, 17)), boxes=np.array([[50.0, 30, 150, 195]]))
    assert (with_box[100, 50] > 170).all()  # left edge, white
    assert (with_box[12:30, 50:80] < 100).any()  # dark tab above the top left corner


def test_nothing_and_joints_far_outside_are_drawn_without_harm():
    empty = draw_poses(
        Image.new("RGB", (40, 30), GREY),
        np.zeros((0, 4)),
        np.zeros((0, 17, 2)),
        np.zeros((0, 17)),
        np.zeros(0),
        COCO,
        0,
    )
    assert (np.asarray(empty) == GREY).all()
    outside = draw(standing() + 5000, np.ones((1, 17)), boxes=np.array([[0.0, 0, 0, 0]]))
    assert outside.shape == (200, 200, 3)


def test_drawing_leaves_other_pixels_untouched():
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    drawn = draw_poses(Image.fromarray(noise), None, standing(), np.ones((1, 17)), np.ones(1), COCO, 0.3)
    assert np.array_equal(np.asarray(drawn)[:, 150:], noise[:, 150:])


def test_uncertain_joints_get_an_ellipse_of_their_spread_and_certain_ones_none():
    plain = draw(standing(), np.ones((1, 17)))
    spread = np.full((1, 17, 2), 0.1)
    picture = Image.new("RGB", (200, 200), GREY)
    people = (None, standing(), np.ones((1, 17)), np.ones(1), COCO)
    assert np.array_equal(np.asarray(draw_poses(picture, *people, spread=spread)), plain)
    spread[0, 9] = (40.0, 8.0)  # the left wrist, at (135, 95): wide, not high
    changed = np.abs(np.asarray(draw_poses(picture, *people, spread=spread)).astype(int) - plain).max(-1) > 8
    rows, columns = np.nonzero(changed)
    assert abs(columns.mean() - 135) < 3
    assert np.ptp(columns) > 2 * np.ptp(rows)
    assert np.ptp(columns) < 0.3 * 160  # at most LARGEST_ELLIPSE of the person to each side


def test_labels_stand_in_place_of_scores_and_an_empty_one_draws_no_tab():
    box = np.array([[50.0, 30, 150, 195]])
    people = (box, standing(), np.ones((1, 17)), np.ones(1), COCO)
    grey = Image.new("RGB", (200, 200), GREY)
    tab = (slice(12, 29), slice(50, 80))  # above the top left corner
    assert (np.asarray(draw_poses(grey, *people, labels=["#7"]))[tab] < 100).any()
    assert (np.asarray(draw_poses(grey, *people, labels=[""]))[tab] == GREY).all()
