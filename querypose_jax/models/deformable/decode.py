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
    """Pairs of an instance and a column of its logits."""

    instance: Int[Array, "B n"]
    column: Int[Array, "B n"]


def best_picks(logits: Float[Array, "B N c"], count: int) -> Picks:
    """The `count` best pairs of instance and column, best first; an instance may come with several columns."""
    columns = logits.shape[-1]
    flat = jax.nn.sigmoid(logits).reshape(len(logits), -1)
    _, place = jax.lax.top_k(flat, min(count, flat.shape[1]))
    return Picks(place // columns, place % columns)


def decode(
    logits: Float[Array, "B N c"],
    points: Float[Array, "B N K 2"],
    batch: Batch,
    num_select: int,
    boxes: Float[Array, "B N 4"] | None = None,
) -> Poses:
    """The `num_select` best pairs of instance and column, best first. Arguments as in `decode_picks`."""
    return decode_picks(best_picks(logits, num_select), logits, points, batch, boxes)


def decode_picks(
    picks: Picks,
    logits: Float[Array, "B N c"],
    points: Float[Array, "B N K 2"],
    batch: Batch,
    boxes: Float[Array, "B N 4"] | None = None,
) -> Poses:
    """The picked pairs as people, in their order.

    Picks of the columns that are no class are not valid. Boxes are clipped to the picture; a joint's score is the
    person's.

    Args:
        picks: which; of the last layer, whichever layer is decoded.
        logits: of a layer.
        points: (x, y) relative to the valid part of the picture.
        batch: tells where the pictures are.
        boxes: (cx, cy, w, h) relative to the valid part of the picture; None: the tight ones of all joints.
    """
    instance, column = picks
    scores = jnp.take_along_axis(jax.nn.sigmoid(take(logits, instance)), column[..., None], -1)[..., 0]
    keypoints = to_pixels(take(points, instance), batch)
    if boxes is None:
        corners = jnp.stack([keypoints.min(2), keypoints.max(2)], 2)
    else:
        size = batch.valid_size[:, None, None, ::-1].astype(points.dtype)
        relative = from_cxcywh(take(boxes, instance)).reshape(*scores.shape, 2, 2)
        corners = to_original(relative * size, batch)  # continuous already
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


def to_pixels(points: Float[Array, "B N _ 2"], batch: Batch) -> Float[Array, "B N _ 2"]:
    """Points relative to the valid part of the picture -> continuous original pixels."""
    return to_original(points * batch.valid_size[:, None, None, ::-1].astype(points.dtype), batch) + HALF_PIXEL


def to_original(points: Float[Array, "B N K 2"], batch: Batch) -> Float[Array, "B N K 2"]:
    """Network pixels to original pixels; no matrix product, which accelerators would round to a few bits."""
    affine = jnp.asarray(batch.inv_affine, points.dtype)[:, None, None]
    x, y = points[..., 0, None], points[..., 1, None]
    return affine[..., 0] * x + affine[..., 1] * y + affine[..., 2]
