"""From the network's numbers to poses in original pixels (section 13 of Group Pose, 15 of ED-Pose)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from querypose_jax.geometry.boxes import from_cxcywh
from querypose_jax.models.deformable.proposals import take
from querypose_jax.models.deformable.targets import FIRST_COLUMN
from querypose_jax.structures import FILLER_ID, Batch, Poses

HALF_PIXEL = 0.5  # the network speaks of pixel indices, poses are continuous: the first pixel's centre is at 0.5


class Picks(NamedTuple):
    """Which pairs of instance and column are reported, best first; an instance may come with several columns."""

    scores: Float[Array, "B n"]
    instance: Int[Array, "B n"]
    column: Int[Array, "B n"]


def decode(
    logits: Float[Array, "B N c"],
    points: Float[Array, "B N K 2"],
    batch: Batch,
    num_select: int,
    boxes: Float[Array, "B N 4"] | None = None,
) -> Poses:
    """The `num_select` best pairs of instance and column, best first. Arguments as of `pick` and `picked_poses`."""
    return picked_poses(pick(logits, num_select), points, batch, boxes)


def pick(logits: Float[Array, "B N c"], num_select: int) -> Picks:
    """The `num_select` best pairs, or all where there are fewer; `logits` are those of the last layer."""
    pictures, _, columns = logits.shape
    probability = jax.nn.sigmoid(logits).reshape(pictures, -1)
    scores, place = jax.lax.top_k(probability, min(num_select, probability.shape[1]))
    return Picks(scores, place // columns, place % columns)


def picked_poses(
    picks: Picks, points: Float[Array, "B N K 2"], batch: Batch, boxes: Float[Array, "B N 4"] | None = None
) -> Poses:
    """Poses of these pairs.

    Those of the columns that are no class are not valid. Boxes are clipped to the picture; a joint's score is the
    person's.

    Args:
        picks: instances and columns.
        points: (x, y) relative to the valid part of the picture.
        batch: tells where the pictures are.
        boxes: (cx, cy, w, h) relative to the valid part of the picture; None: the tight ones of all joints.
    """
    scores, instance, column = picks
    keypoints = on_picture(take(points, instance), batch) + HALF_PIXEL
    if boxes is None:
        corners = jnp.stack([keypoints.min(2), keypoints.max(2)], 2)
    else:  # continuous already
        corners = on_picture(from_cxcywh(take(boxes, instance)).reshape(*scores.shape, 2, 2), batch)
    limit = batch.orig_size[:, None, None, ::-1].astype(points.dtype)
    is_class = column >= FIRST_COLUMN
    return Poses(
        scores=scores,
        labels=jnp.maximum(column - FIRST_COLUMN, 0),
        valid=is_class & (batch.image_id != FILLER_ID)[:, None],
        boxes=jnp.clip(corners, 0, limit).reshape(*scores.shape, 4),
        keypoints=keypoints,
        keypoint_scores=jnp.broadcast_to(scores[..., None], keypoints.shape[:-1]),
    )


def on_picture(relative: Float[Array, "B N k 2"], batch: Batch) -> Float[Array, "B N k 2"]:
    """Points relative to the valid part of the picture to original pixels."""
    size = batch.valid_size[:, None, None, ::-1].astype(relative.dtype)
    return to_original(relative * size, batch)


def to_original(points: Float[Array, "B N K 2"], batch: Batch) -> Float[Array, "B N K 2"]:
    """Network pixels to original pixels; no matrix product, which accelerators would round to a few bits."""
    affine = jnp.asarray(batch.inv_affine, points.dtype)[:, None, None]
    x, y = points[..., 0, None], points[..., 1, None]
    return affine[..., 0] * x + affine[..., 1] * y + affine[..., 2]
