"""The losses of a QueryPose: L1, GIoU and residual log-likelihood, at every stage (paper section 3.4)."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from querypose_jax.geometry.boxes import giou

SIGMA_EPSILON = 1e-9


def l1_loss(pred: Float[Array, "*B 4"], gt: Float[Array, "*B 4"], scale: Float[Array, "*#B 4"]) -> Float[Array, "*B"]:
    """Sum of absolute coordinate differences of boxes relative to the picture; scale is (w, h, w, h)."""
    return jnp.abs(pred / scale - gt / scale).sum(-1)


def giou_loss(pred: Float[Array, "*B 4"], gt: Float[Array, "*B 4"]) -> Float[Array, "*B"]:
    """1 - GIoU."""
    return 1 - giou(pred, gt)


def rle_loss(
    log_prob: Callable[[Array], Array],
    xy: Float[Array, "*B K 2"],
    sigma: Float[Array, "*B K 2"],
    target: Float[Array, "*B K 2"],
    is_labelled: Bool[Array, "*B K"],
) -> Float[Array, "*B K 2"]:
    """Residual log-likelihood (Li et al. 2021): how unlikely the target is under the predicted distribution.

    Zero where a keypoint is not labelled. As in the released code, the flow's log density (one number per keypoint) and
    log sigma enter once more per coordinate than the paper's formula has them.

    Args:
        log_prob: log density of the flow, [..., 2] -> [...].
        xy, sigma, target: box units.
    """
    mask = is_labelled[..., None]
    # Masked on the way in and on the way out: a far target of a masked keypoint must not turn into 0 * inf.
    target = jnp.where(mask, target, jax.lax.stop_gradient(xy))
    sigma = jnp.where(mask, sigma, 1)
    log_phi = log_prob((xy - target) / sigma)[..., None]
    laplace = jnp.log(sigma * math.sqrt(2 * math.pi)) + jnp.abs(target - xy) / (math.sqrt(2) * sigma + SIGMA_EPSILON)
    return jnp.where(mask, jnp.log(sigma) - log_phi + laplace, 0)
