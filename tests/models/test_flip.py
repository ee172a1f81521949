"""Mirrored pictures: there and back is nothing, and two views that agree change nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from querypose_jax.inference.batching import empty_people
from querypose_jax.models.base import PoseModel
from querypose_jax.models.flip import merge, mirror_batch, mirror_poses, pair_up
from querypose_jax.skeletons import COCO
from querypose_jax.structures import Batch, Poses

K, N = COCO.num_keypoints, 6
WIDTH = np.array([160, 120])


def random_poses(seed=0) -> Poses:
    """Two pictures of N people of two classes, the last one not valid, some of them close together."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (2, N, 2)).astype(np.float32)
    corner[:, 1] = corner[:, 0] + 3
    side = rng.uniform(20, 40, (2, N, 2)).astype(np.float32)
    relative = rng.uniform(-0.2, 1.2, (2, N, K, 2)).astype(np.float32)
    return Poses(
        scores=jnp.asarray(rng.uniform(0.01, 1, (2, N)), jnp.float32),
        labels=jnp.asarray(rng.integers(0, 2, (2, N)), jnp.int32),
        valid=jnp.arange(N)[None].repeat(2, 0) < N - 1,
        boxes=jnp.concatenate([corner, corner + side], -1),
        keypoints=jnp.asarray(corner[:, :, None] + relative * side[:, :, None]),
        keypoint_scores=jnp.asarray(rng.uniform(0, 1, (2, N, K)), jnp.float32),
        spread=jnp.asarray(rng.uniform(0, 9, (2, N, K, 2)), jnp.float32),
    )


def merge_all(first: Poses, second: Poses) -> Poses:
    return jax.vmap(lambda a, b: merge(a, b, COCO))(first, second)


def assert_equal(found: Poses, expected: Poses, atol: float = 1e-4) -> None:
    """On what is valid."""
    np.testing.assert_array_equal(found.valid, expected.valid)
    keep = np.asarray(expected.valid)
    for field in dataclasses.fields(expected):
        if getattr(expected, field.name) is None:
            continue
        a, b = (np.asarray(getattr(poses, field.name))[keep] for poses in (found, expected))
        np.testing.assert_allclose(a, b, atol=atol, err_msg=field.name)


def test_mirroring_twice_gives_the_poses_back_and_left_is_right_in_between():
    poses = random_poses()
    mirrored = mirror_poses(poses, jnp.asarray(WIDTH), COCO)
    assert_equal(mirror_poses(mirrored, jnp.asarray(WIDTH), COCO), poses)
    left, right = COCO.names.index("left_wrist"), COCO.names.index("right_wrist")
    x, y = poses.keypoints[1, 2, left]
    np.testing.assert_allclose(mirrored.keypoints[1, 2, right], (WIDTH[1] - x, y), rtol=1e-6)
    assert (mirrored.boxes[..., 2:] > mirrored.boxes[..., :2]).all()


def test_merging_with_its_own_mirrored_output_is_the_identity():
    poses = random_poses()
    merged = merge_all(poses, poses)
    assert_equal(jax.tree.map(lambda field: field[:, :N], merged), poses, atol=0)
    assert not merged.valid[:, N:].any()


def test_the_order_of_queries_of_the_second_view_does_not_matter():
    poses = random_poses()
    order = np.array([3, 0, 5, 1, 4, 2])
    merged = merge_all(poses, jax.tree.map(lambda field: field[:, order], poses))
    assert_equal(jax.tree.map(lambda field: field[:, :N], merged), poses, atol=0)
    assert not merged.valid[:, N:].any()


def test_two_views_of_a_person_are_averaged_in_pixels():
    poses = random_poses()
    moved = dataclasses.replace(poses, keypoints=poses.keypoints + 1, boxes=poses.boxes + 1, scores=poses.scores * 0.9)
    merged = merge_all(poses, moved)
    np.testing.assert_allclose(merged.keypoints[:, : N - 1], poses.keypoints[:, : N - 1] + 0.5, atol=1e-4)
    np.testing.assert_allclose(merged.boxes[:, : N - 1], poses.boxes[:, : N - 1] + 0.5, atol=1e-4)
    np.testing.assert_allclose(merged.scores[:, : N - 1], poses.scores[:, : N - 1] * 0.95, rtol=1e-5)


@pytest.mark.parametrize("difference", ["place", "class", "validity"])
def test_who_is_seen_in_one_view_only_keeps_half_of_the_score(difference):
    poses = random_poses()
    changes = {
        "place": dict(boxes=poses.boxes + 500, keypoints=poses.keypoints + 500),
        "class": dict(labels=poses.labels + 2),
        "validity": dict(valid=jnp.zeros_like(poses.valid)),
    }[difference]
    other = dataclasses.replace(poses, **changes)
    merged = merge_all(poses, other)
    np.testing.assert_allclose(merged.scores, np.concatenate([poses.scores, other.scores], 1) / 2)
    np.testing.assert_array_equal(merged.valid, np.concatenate([poses.valid, other.valid], 1))
    np.testing.assert_array_equal(merged.keypoints[:, :N], poses.keypoints)


def test_pairs_are_one_to_one_and_the_largest_comes_first():
    weight = jnp.array([[0.9, 0.8, 0.0], [0.85, 0.3, 0.0], [0.0, 0.0, 0.0]])
    assert pair_up(weight).tolist() == [0, 1, 3]


def batch_with_dots() -> tuple[Batch, np.ndarray]:
    """Two pictures (48 x 80 and 48 x 60 on a canvas of 64 x 96) with one white pixel each, and where it is."""
    image, places = np.zeros((2, 64, 96, 3), np.uint8), np.array([(13, 20), (59, 30)])
    for picture, (x, y) in zip(image, places, strict=True):
        picture[y, x] = 255
    valid = np.array([(48, 80), (48, 60)], np.int32)
    batch = Batch(
        image=image,
        valid_size=valid,
        orig_size=valid * 2,
        image_id=np.arange(2, dtype=np.int32),
        inv_affine=np.tile(np.array([[2, 0, 0], [0, 2, 0]], np.float32), (2, 1, 1)),
        **empty_people(2, 1, K),
    )
    return batch, places


class DotFinder(PoseModel):
    """As good as a model that has learnt mirroring: one box of 20 pixels around the dot, joints in it."""

    skeleton = COCO

    def __call__(self, batch: Batch, train: bool = False, key=None) -> Batch:
        return batch

    def decode(self, outputs: Batch, batch: Batch) -> Poses:
        return find_dots(batch)


def find_dots(batch: Batch) -> Poses:
    brightness = jnp.asarray(batch.image)[..., 0]
    x = (brightness.max(1).argmax(1) + 0.5) * 2
    y = (brightness.max(2).argmax(1) + 0.5) * 2
    centre = jnp.stack([x, y], -1)[:, None]
    return Poses(
        scores=jnp.full((2, 1), 0.7),
        labels=jnp.zeros((2, 1), jnp.int32),
        valid=jnp.ones((2, 1), bool),
        boxes=jnp.concatenate([centre - 10, centre + 10], -1),
        keypoints=jnp.broadcast_to(centre[:, :, None], (2, 1, K, 2)),
        keypoint_scores=jnp.full((2, 1, K), 0.5),
    )


def test_a_mirrored_picture_stays_at_the_top_left_of_its_canvas():
    batch, places = batch_with_dots()
    mirrored = mirror_batch(batch)
    assert np.argwhere(np.asarray(mirrored.image)[..., 0]).tolist() == [
        [i, y, width - 1 - x] for i, ((x, y), (_, width)) in enumerate(zip(places, batch.valid_size, strict=True))
    ]
    np.testing.assert_array_equal(mirror_batch(mirrored).image, batch.image)


def test_a_finder_that_knows_no_left_and_right_gives_the_same_with_and_without():
    batch, _ = batch_with_dots()
    plain, merged = DotFinder().predict(batch), jax.jit(lambda batch: DotFinder().predict(batch, flip=True))(batch)
    assert_equal(jax.tree.map(lambda field: field[:, :1], merged), plain)
    assert not merged.valid[:, 1:].any()
