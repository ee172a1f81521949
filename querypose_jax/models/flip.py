"""Test-time augmentation by mirroring, for a model that finds boxes and joints relative to them.

The picture and its mirror image are predicted separately; every pose of the second is mirrored back to original pixels
and looks for its partner among those of the first: a query that found somebody in the picture need not find the
same person in the mirror image. Box-relative numbers of the two are never mixed, for each holds in its own box only:
what is averaged are pixels. Nothing like this is in the released code or the paper.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import Batch, Poses

SMALLEST_SIMILARITY = 0.25  # IoU x OKS from which two poses are the same person: half of each


def merge_views(first: Poses, second: Poses, orig_size: Int[Array, "B 2"], skeleton: Skeleton) -> Poses:
    """All N poses of pictures and all N of their mirror images as 2 N of the pictures.

    Args:
        first: of the pictures; nothing left out, what cannot matter alone may matter together.
        second: of the mirror images, in the original pixels of those.
        orig_size: h, w of the pictures.
        skeleton: for its left/right pairs, and sigmas to compare poses with.
    """
    back = mirror_poses(second, orig_size[:, 1], skeleton)
    return jax.vmap(lambda a, b: merge(a, b, skeleton))(first, back)


def mirror_batch(batch: Batch) -> Batch:
    """Every picture mirrored inside its valid width, still at the top left of the canvas; people stay as they are."""
    canvas = batch.image.shape[2]
    source = batch.valid_size[:, 1, None] - 1 - jnp.arange(canvas)  # column of the picture, negative beyond it
    image = jnp.take_along_axis(jnp.asarray(batch.image), jnp.maximum(source, 0)[:, None, :, None], 2)
    return dataclasses.replace(batch, image=jnp.where((source >= 0)[:, None, :, None], image, 0))


def mirror_poses(poses: Poses, width: Int[Array, " B"], skeleton: Skeleton) -> Poses:
    """Poses on mirror images, back on the pictures (original pixels, `width` of the pictures); left is right again."""
    width = width.astype(poses.boxes.dtype)[:, None]
    x0, y0, x1, y1 = jnp.moveaxis(poses.boxes, -1, 0)
    order = np.array(skeleton.flip_index)
    x, y = jnp.moveaxis(poses.keypoints[:, :, order], -1, 0)
    return dataclasses.replace(
        poses,
        boxes=jnp.stack([width - x1, y0, width - x0, y1], -1),
        keypoints=jnp.stack([width[..., None] - x, y], -1),
        keypoint_scores=poses.keypoint_scores[:, :, order],
        spread=None if poses.spread is None else poses.spread[:, :, order],
    )


def merge(first: Poses, second: Poses, skeleton: Skeleton) -> Poses:
    """Two sets of N poses on one picture (no leading B) as one of 2 N.

    Pose n of the result is pose n of `first`, averaged with its partner in `second` where it has one; who has none
    keeps half of the score, as if the other view had given zero. Those of `second` that nobody took follow likewise.
    """
    count = first.scores.shape[0]
    weight = similarity(first, second, skeleton)
    weight = jnp.where(weight >= SMALLEST_SIMILARITY, weight, 0) * first.scores[:, None] * second.scores
    partner = pair_up(weight)
    has_partner = partner < count
    is_left = jnp.ones(count, bool).at[partner].set(False, mode="drop")

    def average(own: Array, others: Array) -> Array:
        others = others[jnp.minimum(partner, count - 1)]
        return jnp.where(has_partner.reshape(-1, *[1] * (own.ndim - 1)), (own + others) / 2, own)

    numbers = ("boxes", "keypoints", "keypoint_scores") + (() if first.spread is None else ("spread",))
    merged = {name: average(getattr(first, name), getattr(second, name)) for name in numbers}
    scores = jnp.where(has_partner, average(first.scores, second.scores), first.scores / 2)
    both = dataclasses.replace(first, scores=scores, **merged)
    alone = dataclasses.replace(second, scores=second.scores / 2, valid=second.valid & is_left)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), both, alone)


def similarity(first: Poses, second: Poses, skeleton: Skeleton) -> Float[Array, "N N"]:
    """IoU of boxes x OKS of joints (box area for area) of every pair; 0 between classes and where one is not valid."""
    a, b = first.boxes[:, None], second.boxes[None]
    shared = jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2]), 0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (a, b)]
    area = jnp.maximum(sum(areas) / 2, 1e-6)
    iou = shared / jnp.maximum(sum(areas) - shared, 1e-6)
    squared = jnp.square(first.keypoints[:, None] - second.keypoints[None]).sum(-1)
    scale = 2 * jnp.square(2 * jnp.array(skeleton.sigmas, squared.dtype))
    oks = jnp.exp(-squared / (scale * area[..., None])).mean(-1)
    fits = (first.labels[:, None] == second.labels) & first.valid[:, None] & second.valid
    return jnp.where(fits, iou * oks, 0)


def pair_up(weight: Float[Array, "N N"]) -> Int[Array, " N"]:
    """Column of each row, N where it gets none: the largest positive weight first, then the next of what is left."""
    count = weight.shape[0]

    def take_largest(_, state: tuple[Array, Array]) -> tuple[Array, Array]:
        weight, column_of = state
        row, column = jnp.divmod(weight.argmax(), count)
        column_of = column_of.at[row].set(jnp.where(weight[row, column] > 0, column, column_of[row]))
        return weight.at[row].set(0).at[:, column].set(0), column_of

    return jax.lax.fori_loop(0, count, take_largest, (weight, jnp.full(count, count)))[1]
