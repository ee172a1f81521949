"""Terms of the matching cost of each prediction and person (section 12 of Group Pose, 14 of ED-Pose).

Weighted, summed and given to `kernels.assignment.assign` by the caller. Columns of padding people mean nothing.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from querypose_jax.models.deformable.losses import box_giou, keypoint_l1, oks_loss
from querypose_jax.models.deformable.targets import Targets

LOG_EPSILON = 1e-8  # released


def class_cost(
    logits: Float[Array, "*S B N c"], targets: Targets, alpha: float, gamma: float
) -> Float[Array, "*S B N G"]:
    """How much the focal loss changes when a query becomes positive for the person's class."""
    probability = jax.nn.sigmoid(logits)
    positive = alpha * (1 - probability) ** gamma * -jnp.log(probability + LOG_EPSILON)
    negative = (1 - alpha) * probability**gamma * -jnp.log(1 - probability + LOG_EPSILON)
    column = targets.column.reshape(*(1,) * (logits.ndim - 3), *targets.column.shape)[..., None, :]
    return jnp.take_along_axis(positive - negative, column, -1, mode="clip")


def keypoint_cost(points: Float[Array, "*S B N K 2"], targets: Targets) -> Float[Array, "*S B N G"]:
    """Joint L1."""
    return keypoint_l1(points[..., :, None, :, :], targets.xy[:, None], targets.is_labelled[:, None])


def oks_cost(points: Float[Array, "*S B N K 2"], targets: Targets, sigmas: Sequence[float]) -> Float[Array, "*S B N G"]:
    """1 - OKS."""
    target, is_labelled, area = targets.xy[:, None], targets.is_labelled[:, None], targets.area[:, None]
    return oks_loss(points[..., :, None, :, :], target, is_labelled, area, sigmas)


def box_cost(boxes: Float[Array, "*S B N 4"], targets: Targets) -> Float[Array, "*S B N G"]:
    """L1 of (cx, cy, w, h)."""
    return jnp.abs(boxes[..., :, None, :] - targets.boxes[:, None]).sum(-1)


def giou_cost(boxes: Float[Array, "*S B N 4"], targets: Targets) -> Float[Array, "*S B N G"]:
    """Minus the generalised IoU."""
    return -box_giou(boxes[..., :, None, :], targets.boxes[:, None])
