"""What holds for any numbers at all: boxes, transforms, losses, similarities and decoding under hypothesis."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from configs import querypose as defaults
from querypose_jax.evaluation.breakdown import similarities
from querypose_jax.geometry.boxes import MAX_LOG_GROWTH, apply_deltas, giou
from querypose_jax.geometry.keypoints import to_box_relative, to_pixels
from querypose_jax.layers.real_nvp import RealNVP
from querypose_jax.models.flip import similarity
from querypose_jax.models.focal_loss import focal_loss
from querypose_jax.models.querypose.decode import decode
from querypose_jax.models.querypose.losses import rle_loss
from querypose_jax.recipes import querypose
from querypose_jax.recipes.geometry import LARGEST_CROPPED_ASPECT
from querypose_jax.skeletons import COCO
from querypose_jax.structures import FILLER_ID, Batch, Poses

K, N = COCO.num_keypoints, 3
few = settings(max_examples=30, deadline=None)
many = settings(max_examples=100, deadline=None)


def numbers(shape: tuple[int, ...], low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float32, shape, elements=st.floats(low, high, width=32))


def real_boxes(count: int) -> st.SearchStrategy[np.ndarray]:
    """float32 [count, 4], xyxy of sides from 2^-6 to 4096 pixels, anywhere within 4096 pixels."""
    corners, sides = numbers((count, 2), -4096, 4096), numbers((count, 2), 2**-6, 4096)
    return st.tuples(corners, sides).map(
        lambda both: np.concatenate([both[0], both[0] + np.maximum(both[1], 0.01)], -1)
    )


@few
@given(real_boxes(8), real_boxes(8))
def test_giou_of_any_two_boxes_is_symmetric_and_from_minus_one_to_one(a, b):
    forth, back = np.asarray(giou(jnp.asarray(a), jnp.asarray(b))), np.asarray(giou(jnp.asarray(b), jnp.asarray(a)))
    np.testing.assert_allclose(forth, back, atol=1e-6)
    assert (forth >= -1 - 1e-6).all() and (forth <= 1 + 1e-6).all()
    np.testing.assert_allclose(giou(jnp.asarray(a), jnp.asarray(a)), 1, atol=1e-6)


@few
@given(real_boxes(8), numbers((8, 4), -1e4, 1e4))
def test_any_deltas_leave_finite_boxes_that_grow_by_a_bounded_factor(boxes, deltas):
    moved = np.asarray(apply_deltas(jnp.asarray(deltas), jnp.asarray(boxes)), np.float64)
    assert np.isfinite(moved).all()
    factor = np.exp(MAX_LOG_GROWTH)
    largest = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64) * factor
    rounding = 1e-5 * (np.abs(moved).max(-1, keepdims=True) + largest)
    assert ((moved[:, 2:] - moved[:, :2]) <= largest + rounding).all()


@few
@given(real_boxes(8), numbers((8, K, 2), -4, 4))
def test_joints_go_into_any_box_and_come_back(boxes, relative):
    boxes = jnp.asarray(boxes)
    pixels = to_pixels(jnp.asarray(relative), boxes)
    again, _ = to_box_relative(jnp.concatenate([pixels, jnp.ones((8, K, 1))], -1), boxes)
    side = np.asarray(boxes[:, 2:] - boxes[:, :2])[:, None]
    assert (np.abs(np.asarray(again) - relative) * side <= 1e-2).all()  # pixels: float32 at 4096 + 4 x 4096


@many
@given(
    arrays(np.float64, (4, querypose.DRAWS), elements=st.floats(0, 1, exclude_max=True)),
    arrays(np.int64, (4, 2), elements=st.integers(1, 9000)),
    arrays(np.float64, (4, 4), elements=st.floats(-1e9, 1e9)),
    arrays(np.float64, (4, K, 2), elements=st.floats(-1e9, 1e9)),
    arrays(np.int64, (4, K, 1), elements=st.integers(-1, 3)),
)
def test_any_draws_on_any_picture_give_a_picture_with_its_people_on_it(uniform, sizes, boxes, joints, visibility):
    geometry = querypose.draw_geometry(uniform, sizes, defaults.get_config().data)
    x, y, w, h = geometry.crop.T
    assert (geometry.final >= 1).all() and (geometry.final.max(-1) <= 1333).all()
    assert (x >= 0).all() and (y >= 0).all() and (w >= 1).all() and (h >= 1).all()
    assert (np.stack([y + h, x + w], -1) <= geometry.resized).all()
    assert geometry.resized.prod(-1, dtype=np.int64).max() <= max(9000**2, 600**2 * LARGEST_CROPPED_ASPECT)
    moved = querypose.move_boxes(boxes, geometry)
    limit = np.concatenate([geometry.final[:, ::-1]] * 2, -1)
    assert (moved >= 0).all() and (moved <= limit).all()
    assert (moved[:, :2] <= moved[:, 2:]).all()
    joints = querypose.move_keypoints(np.concatenate([joints, visibility], -1), geometry, COCO)
    assert np.isfinite(joints).all()
    assert (joints[..., :2] >= 0).all() and (joints[..., :2] <= geometry.final[:, None, ::-1]).all()
    assert (joints[joints[..., 2] <= 0] == 0).all()


@many
@given(
    arrays(np.float64, (4, querypose.DRAWS), elements=st.floats(0, 1, exclude_max=True)),
    arrays(np.int64, (4, 2), elements=st.integers(20, 2000)),
    arrays(np.float64, (4, 5, 2), elements=st.floats(0, 2000)),
)
def test_any_point_comes_back_through_the_inverse(uniform, sizes, points):
    geometry = querypose.draw_geometry(uniform, sizes, defaults.get_config().data)
    there, matrix = querypose.move_points(points, geometry), querypose.inverse_affine(geometry).astype(np.float64)
    back = np.einsum("sij,spj->spi", matrix[..., :2], there) + matrix[:, None, :, 2]
    np.testing.assert_allclose(back, points, atol=1e-2)  # pixels; the matrix is float32


@functools.cache
def flow() -> RealNVP:
    return RealNVP(2, 8, jnp.dtype("float32"), nnx.Rngs(0))


@nnx.jit
def rle_and_gradients(flow, xy, sigma, target, is_labelled):
    def total(xy, sigma):
        return rle_loss(flow.log_prob, xy, sigma, target, is_labelled).sum()

    return total(xy, sigma), jax.grad(total, (0, 1))(xy, sigma)


@few
@given(
    numbers((N, K, 2), -8, 8),
    numbers((N, K, 2), 2**-10, 1),
    numbers((N, K, 2), -(2**20), 2**20),
    arrays(np.bool_, (N, K)),
)
def test_any_residual_has_a_finite_loss_and_unlabelled_joints_no_gradient(xy, sigma, target, is_labelled):
    loss, gradients = rle_and_gradients(flow(), xy, sigma, target, is_labelled)
    assert np.isfinite(loss)
    for gradient in map(np.asarray, gradients):
        assert np.isfinite(gradient).all()
        assert (gradient[~is_labelled] == 0).all()
    if not is_labelled.any():
        assert loss == 0


@few
@given(numbers((16,), -1e4, 1e4), arrays(np.bool_, (16,)))
def test_any_logit_has_a_finite_focal_loss_and_gradient(logits, target):
    def total(logits):
        return focal_loss(logits, jnp.asarray(target, jnp.float32), 0.25, 2.0)

    assert (np.asarray(total(jnp.asarray(logits))) >= 0).all() and np.isfinite(total(jnp.asarray(logits))).all()
    assert np.isfinite(jax.grad(lambda x: total(x).sum())(jnp.asarray(logits))).all()


def one_picture(is_filler: bool, flip: bool) -> Batch:
    """A batch of one picture of 480 x 640 pixels, shown at half its size, perhaps mirrored."""
    affine = np.array([[[-2, 0, 640], [0, 2, 0]]] if flip else [[[2, 0, 0], [0, 2, 0]]], np.float32)
    return Batch(
        image=np.zeros((1, 256, 320, 3), np.uint8),
        valid_size=np.array([[240, 320]], np.int32),
        orig_size=np.array([[480, 640]], np.int32),
        image_id=np.array([FILLER_ID if is_filler else 7], np.int32),
        inv_affine=affine,
        boxes=np.zeros((1, 1, 4), np.float32),
        keypoints=np.zeros((1, 1, K, 3), np.float32),
        area=np.zeros((1, 1), np.float32),
        label=np.zeros((1, 1), np.int32),
        is_person=np.zeros((1, 1), np.bool_),
    )


decoded = jax.jit(decode)


@few
@given(
    numbers((1, N, 2), -1e4, 1e4),
    numbers((1, N, 4), -1e6, 1e6),
    numbers((1, N, K, 2), -100, 100),
    numbers((1, N, K, 2), 0, 1),
    st.booleans(),
)
def test_any_output_decodes_to_finite_poses_inside_of_the_picture(logits, boxes, xy, sigma, is_filler):
    poses = decoded(logits, boxes, xy, sigma, one_picture(is_filler, flip=False))
    for value in jax.tree.leaves(poses):
        assert np.isfinite(np.asarray(value, np.float64)).all()
    assert (poses.scores >= 0).all() and (poses.scores <= 1).all()
    corners = np.asarray(poses.boxes)
    assert (corners >= 0).all() and (corners <= [640, 480, 640, 480]).all()
    assert (corners[poses.valid][:, 2:] > corners[poses.valid][:, :2]).all()
    assert not (is_filler and poses.valid.any())


def poses_of(boxes: np.ndarray, relative: np.ndarray) -> Poses:
    return Poses(
        scores=jnp.ones(N),
        labels=jnp.zeros(N, jnp.int32),
        valid=jnp.ones(N, bool),
        boxes=jnp.asarray(boxes),
        keypoints=to_pixels(jnp.asarray(relative), jnp.asarray(boxes)),
        keypoint_scores=jnp.ones((N, K)),
    )


@few
@given(real_boxes(N), real_boxes(N), numbers((N, K, 2), -2, 2), numbers((N, K, 2), -2, 2))
def test_similarity_of_any_poses_is_symmetric_from_zero_to_one_and_one_with_itself(a, b, one, other):
    first, second = poses_of(a, one), poses_of(b, other)
    forth, back = np.asarray(similarity(first, second, COCO)), np.asarray(similarity(second, first, COCO))
    np.testing.assert_allclose(forth, back.T, atol=1e-5)
    assert (forth >= 0).all() and (forth <= 1 + 1e-5).all()
    np.testing.assert_allclose(np.diag(np.asarray(similarity(first, first, COCO))), 1, atol=1e-4)


@many
@given(
    arrays(np.float64, (K, 3), elements=st.floats(-1e6, 1e6)),
    arrays(np.float64, (K, 3), elements=st.floats(-1e6, 1e6)),
    st.floats(0, 1e9),
)
def test_similarity_of_any_joints_to_the_truth_is_from_zero_to_one(truth, found, area):
    person, result = {"keypoints": truth.ravel().tolist(), "area": area}, {"keypoints": found.ravel().tolist()}
    likeness = similarities(person, result, COCO)
    labelled = truth[:, 2] > 0
    assert np.isnan(likeness[~labelled]).all()
    assert (likeness[labelled] >= 0).all() and (likeness[labelled] <= 1).all()
