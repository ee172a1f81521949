"""The focal loss of every family that classifies queries."""

import jax
from jaxtyping import Array, Float


def focal_loss(
    logits: Float[Array, "*B"], target: Float[Array, "*B"], alpha: float, gamma: float
) -> Float[Array, "*B"]:
    """Sigmoid focal loss (Lin et al. 2017, Eq. 5), elementwise; target is 0 or 1."""
    probability = jax.nn.sigmoid(logits)
    cross_entropy = jax.nn.softplus(logits) - logits * target
    p_target = probability * target + (1 - probability) * (1 - target)
    alpha_target = alpha * target + (1 - alpha) * (1 - target)
    return alpha_target * (1 - p_target) ** gamma * cross_entropy
