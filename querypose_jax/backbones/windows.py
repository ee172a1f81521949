"""Maps as windows of 7 x 7 tokens, and what is known of them from their size alone (numpy, while tracing)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from querypose_jax.structures import AnyArray

WINDOW = 7  # tokens per side
TOKENS = WINDOW * WINDOW
SHIFT = 3  # tokens that every other block's windows are moved by, down and to the right
RELATIVE = 2 * WINDOW - 1  # values of a coordinate difference inside a window
OTHER_REGION = -100.0  # added to the logit of two tokens that only the rolling made neighbours


def split_windows(x: Shaped[AnyArray, "B H W C"]) -> Shaped[AnyArray, "B V T C"]:
    """The V windows of a map and the T tokens of each, both in row-major order; sizes are multiples of 7."""
    pictures, height, width, channels = x.shape
    grid = x.reshape(pictures, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(pictures, -1, TOKENS, channels)


def join_windows(x: Float[Array, "B V T C"], height: int, width: int) -> Float[Array, "B H W C"]:
    """The inverse of `split_windows` for a map of height x width tokens."""
    pictures, channels = x.shape[0], x.shape[-1]
    grid = x.reshape(pictures, height // WINDOW, width // WINDOW, WINDOW, WINDOW, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(pictures, height, width, channels)


def relative_positions() -> Int[np.ndarray, "T T"]:
    """Row of the position-bias table for each (query, key): (dy + 6) * 13 + (dx + 6), query minus key."""
    y, x = np.divmod(np.arange(TOKENS), WINDOW)
    dy, dx = y[:, None] - y[None], x[:, None] - x[None]
    return (dy + WINDOW - 1) * RELATIVE + dx + WINDOW - 1


def bands(length: int) -> Int[np.ndarray, " L"]:
    """Of each row (or column) of a rolled map: 0 before the last window, 1 in its first part, 2 where rolled in."""
    positions = np.arange(length)
    return (positions >= length - WINDOW).astype(np.int32) + (positions >= length - SHIFT)


def shift_mask(height: int, width: int, dtype: jnp.dtype) -> Float[Array, "V 1 T T"]:
    """What is added to the logits of a rolled map: 0 inside a region, -100 between two.

    Sizes are those of the padded map. As released, also where the map is one single window; classification Swin does
    not shift there.
    """
    regions = bands(height)[:, None] * 3 + bands(width)
    region = split_windows(regions[None, :, :, None])[0, :, :, 0]
    differs = jnp.asarray(region)[:, None, :, None] != jnp.asarray(region)[:, None, None, :]
    return jnp.where(differs, OTHER_REGION, 0).astype(dtype)
