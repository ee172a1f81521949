"""Stochastic depth (Huang et al. 2016): a residual branch is left out for single pictures in training."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def drop_path(x: Float[Array, "B *_ C"], rate: float, key: Key[Array, ""] | None) -> Float[Array, "B *_ C"]:
    """Zeroes a picture's branch with probability `rate` and scales what is kept by 1 / (1 - rate).

    The draw is over the pictures of the global batch, so it does not depend on how they lie on devices. Without a key
    nothing is dropped.
    """
    if key is None or rate == 0:
        return x
    is_kept = jax.random.bernoulli(key, 1 - rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(is_kept, x / (1 - rate), 0)
