"""The people of a batch in the network's coordinates (section 17 of Group Pose: the target vector)."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from querypose_jax.geometry.boxes import picture_scale
from querypose_jax.structures import Batch

FIRST_COLUMN = 1  # column of class 0 in the class logits: released labels are category ids, column 0 is never positive
SMALLEST_AREA = 1e-10  # relative to the picture; keeps OKS and its gradients finite on padding and where an area is 0


class Targets(NamedTuple):
    """People relative to the valid part of their picture; numbers of padding people have no meaning."""

    boxes: Float[Array, "B G 4"]
    """cx, cy, w, h."""
    xy: Float[Array, "B G K 2"]
    is_labelled: Bool[Array, "B G K"]
    """Joints that count, visible or not."""
    area: Float[Array, "B G"]
    """Of the segment, relative to the picture's."""
    column: Int[Array, "B G"]
    """Of the person's class in the class logits."""
    is_person: Bool[Array, "B G"]


def make_targets(batch: Batch, dtype: jnp.dtype) -> Targets:
    """Targets in `dtype` (at least float32) from pixels of the canvas."""
    scale = picture_scale(batch.valid_size, dtype)[:, None]  # B 1 4: w, h, w, h
    corners = jnp.asarray(batch.boxes, dtype) / scale
    boxes = jnp.concatenate([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)
    keypoints = jnp.asarray(batch.keypoints, dtype)
    area = jnp.asarray(batch.area, dtype) / (scale[..., 0] * scale[..., 1])
    return Targets(
        boxes=boxes,
        xy=keypoints[..., :2] / scale[:, :, None, :2],
        is_labelled=keypoints[..., 2] > 0,
        area=jnp.maximum(area, SMALLEST_AREA),
        column=jnp.asarray(batch.label) + FIRST_COLUMN,
        is_person=jnp.asarray(batch.is_person),
    )


def number_of_people(batch: Batch, dtype: jnp.dtype) -> Float[Array, ""]:
    """What the criterion divides by: the people of the whole batch, at least 1 (the release: per process, averaged)."""
    people = jnp.asarray(batch.is_person).sum() if batch.whole is None else batch.whole.people
    return jnp.maximum(people, 1).astype(dtype)
