"""From the network's numbers to poses in original pixels (data spec of the released code, section 8)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from querypose_jax.geometry.keypoints import to_pixels
from querypose_jax.structures import FILLER_ID, Batch, Poses


def decode(
    logits: Float[Array, "B N _"],
    boxes: Float[Array, "B N 4"],
    xy: Float[Array, "B N K 2"],
    sigma: Float[Array, "B N K 2"],
    batch: Batch,
) -> Poses:
    """Predictions of one stage in original pixels, in query order: no threshold, no NMS.

    Args:
        logits: of the classes.
        boxes: network pixels, not clipped.
        xy: keypoints relative to the boxes.
        sigma: their uncertainty, box units.
        batch: tells where the pictures are.
    """
    affine = jnp.asarray(batch.inv_affine, boxes.dtype)
    clipped, is_box = clip_boxes(boxes, batch)
    size = (boxes[..., 2:] - boxes[..., :2]) * jnp.abs(affine[:, None, (0, 1), (0, 1)])  # of the box the pose is in
    return Poses(
        scores=final_scores(logits, sigma),
        labels=logits.argmax(-1).astype(jnp.int32),
        valid=is_box,
        boxes=clipped,
        keypoints=apply_affine(affine, to_pixels(xy, boxes)),
        keypoint_scores=keypoint_scores(sigma),
        spread=sigma * size[..., None, :],
    )


def box_scores(logits: Float[Array, "*B N _"]) -> Float[Array, "*B N"]:
    """Probability of the likeliest class."""
    return jax.nn.sigmoid(logits.max(-1))


def keypoint_scores(sigma: Float[Array, "*B N K 2"]) -> Float[Array, "*B N K"]:
    """1 - mean sigma of x and y."""
    return 1 - sigma.mean(-1)


def final_scores(logits: Float[Array, "*B N _"], sigma: Float[Array, "*B N K 2"]) -> Float[Array, "*B N"]:
    """Box score x mean keypoint score, never above the box score: a mean is a product with a rounded 1 / K."""
    return box_scores(logits) * jnp.minimum(keypoint_scores(sigma).mean(-1), 1)


def clip_boxes(boxes: Float[Array, "B N 4"], batch: Batch) -> tuple[Float[Array, "B N 4"], Bool[Array, "B N"]]:
    """Boxes in original pixels, clipped to the picture; False where nothing is left or the picture is a filler."""
    corners = apply_affine(jnp.asarray(batch.inv_affine, boxes.dtype), boxes.reshape(*boxes.shape[:2], 2, 2))
    limit = batch.orig_size[:, None, None, ::-1].astype(boxes.dtype)
    clipped = jnp.clip(corners, 0, limit).reshape(boxes.shape)
    is_box = jnp.all(clipped[..., 2:] > clipped[..., :2], -1)
    return clipped, is_box & (batch.image_id != FILLER_ID)[:, None]


def apply_affine(affine: Float[Array, "B 2 3"], points: Float[Array, "B N _ 2"]) -> Float[Array, "B N _ 2"]:
    """Network pixels to original pixels; no matrix product, which accelerators would round to a few bits."""
    x, y = points[..., 0, None], points[..., 1, None]
    column = affine[:, None, None]
    return column[..., 0] * x + column[..., 1] * y + column[..., 2]
