"""Keypoints relative to a box, on numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np

from querypose_jax.geometry.keypoints import to_box_relative, to_pixels

BOX = jnp.array([10.0, 20, 30, 60])  # 20 x 40, centre (20, 40)
POINTS = {  # pixels -> box units
    (20, 40): (0, 0),
    (10, 20): (-0.5, -0.5),
    (30, 60): (0.5, 0.5),
    (15, 50): (-0.25, 0.25),
    (9.5, 40): (-0.525, 0),  # left of the box
    (20, 61): (0, 0.525),  # below it
}


def keypoints(visibility: float):
    return jnp.array([(*point, visibility) for point in POINTS])


def test_relative_positions_are_fractions_of_the_box_from_its_centre():
    relative, _ = to_box_relative(keypoints(2), BOX)
    assert np.allclose(relative, list(POINTS.values()), atol=1e-6)


def test_points_on_the_border_count_as_inside_and_those_beyond_do_not():
    _, usable = to_box_relative(keypoints(2), BOX)
    assert usable.tolist() == [True, True, True, True, False, False]


def test_occluded_points_are_used_and_unlabelled_ones_are_not():
    assert to_box_relative(keypoints(1), BOX)[1].tolist() == [True, True, True, True, False, False]
    assert not to_box_relative(keypoints(0), BOX)[1].any()


def test_pixels_come_back():
    relative, _ = to_box_relative(keypoints(2), BOX)
    assert np.allclose(to_pixels(relative, BOX), list(POINTS), atol=1e-5)


def test_each_row_has_its_own_box():
    boxes = jnp.stack([BOX, 2 * BOX])
    relative = jnp.array([[[0.0, 0]], [[0.5, -0.5]]])
    assert to_pixels(relative, boxes).tolist() == [[[20, 40]], [[60, 40]]]
