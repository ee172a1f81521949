"""From logits and points to poses in original pixels, on numbers worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from querypose_jax.models.deformable.decode import decode
from querypose_jax.structures import FILLER_ID
from tests.models.grouppose.small_model import people_batch

# Two instances of two joints on a picture of 96 x 64 pixels, twice as large in its file.
POINTS = jnp.array([[[[0.25, 0.5], [0.5, 0.75]], [[-0.1, 0.5], [1.2, 0.25]]]])
BATCH = jax.tree.map(jnp.asarray, people_batch(people=(1,), scale=2.0))


def test_points_become_continuous_original_pixels_with_a_tight_box():
    """(0.25, 0.5) of 96 x 64 is pixel (24, 32), in the file (48, 64), and continuous (48.5, 64.5)."""
    poses = decode(jnp.array([[[0.0, 2.0], [0.0, 1.0]]]), POINTS, BATCH, 1)
    assert np.allclose(poses.keypoints, [[[[48.5, 64.5], [96.5, 96.5]]]])
    assert np.allclose(poses.boxes, [[[48.5, 64.5, 96.5, 96.5]]])
    score = 1 / (1 + np.exp(-2))
    assert np.allclose(poses.scores, score)
    assert np.allclose(poses.keypoint_scores, score)


def test_boxes_are_clipped_to_the_picture_and_joints_are_not():
    poses = decode(jnp.array([[[0.0, 1.0], [0.0, 2.0]]]), POINTS, BATCH, 1)
    assert np.allclose(poses.boxes, [[[0, 32.5, 192, 64.5]]])
    assert np.allclose(poses.keypoints[0, 0, :, 0], [-18.7, 230.9])


def test_the_first_column_is_no_class():
    """Three columns are two classes: an instance may come once per column; picks of column 0 are not valid."""
    logits = jnp.array([[[3.0, 1.0, 2.0], [-9.0, -9.0, 0.0]]])
    poses = decode(logits, POINTS, BATCH, 4)
    assert poses.valid.tolist() == [[False, True, True, True]]
    assert poses.labels[0, 1:].tolist() == [1, 0, 1]
    assert np.allclose(poses.keypoints[0, 1], poses.keypoints[0, 2]), "columns 2 and 1 of the first instance"


def test_poses_of_filler_pictures_are_not_valid():
    filler = dataclasses.replace(BATCH, image_id=jnp.array([FILLER_ID]))
    assert not decode(jnp.zeros((1, 2, 2)), POINTS, filler, 4).valid.any()
