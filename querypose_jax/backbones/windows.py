"""Maps as windows of, say, 7 x 7 tokens, and what is known of them from their size alone (numpy, while tracing)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from querypose_jax.structures import AnyArray

WINDOW = 7  # tokens per side where nothing else is said; 12 where a trunk was pretrained on pictures of 384 pixels
OTHER_REGION = -100.0  # added to the logit of two tokens that only the rolling made neighbours


def shift(window: int) -> int:
    """Tokens that every other block's windows are moved by, down and to the right."""
    return window // 2


def split_windows(x: Shaped[AnyArray, "B H W C"], window: int = WINDOW) -> Shaped[AnyArray, "B V T C"]:
    """The V windows of a map and the T tokens of each, both in row-major order; sizes are multiples of the window."""
    pictures, height, width, channels = x.shape
    grid = x.reshape(pictures, height // window, window, width // window, window, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(pictures, -1, window * window, channels)


def join_windows(x: Float[Array, "B V T C"], height: int, width: int, window: int = WINDOW) -> Float[Array, "B H W C"]:
    """The inverse of `split_windows` for a map of height x width tokens."""
    pictures, channels = x.shape[0], x.shape[-1]
    grid = x.reshape(pictures, height // window, width // window, window, window, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(pictures, height, width, channels)


def relative_positions(window: int = WINDOW) -> Int[np.ndarray, "T T"]:
    """Row of the position-bias table for each (query, key): (dy + 6) * 13 + (dx + 6) in a window of 7, query minus key.

    The table has a row for each of (2 window - 1)^2 differences.
    """
    y, x = np.divmod(np.arange(window * window), window)
    dy, dx = y[:, None] - y[None], x[:, None] - x[None]
    return (dy + window - 1) * (2 * window - 1) + dx + window - 1


def bands(length: int, window: int = WINDOW) -> Int[np.ndarray, " L"]:
    """Of each row (or column) of a rolled map: 0 before the last window, 1 in its first part, 2 where rolled in."""
    positions = np.arange(length)
    return (positions >= length - window).astype(np.int32) + (positions >= length - shift(window))


def shift_mask(height: int, width: int, dtype: jnp.dtype, window: int = WINDOW) -> Float[Array, "V 1 T T"]:
    """What is added to the logits of a rolled map: 0 inside a region, -100 between two.

    Sizes are those of the padded map. As released, also where the map is one single window; classification Swin does
    not shift there.
    """
    regions = bands(height, window)[:, None] * 3 + bands(width, window)
    region = split_windows(regions[None, :, :, None], window)[0, :, :, 0]
    differs = jnp.asarray(region)[:, None, :, None] != jnp.asarray(region)[:, None, None, :]
    return jnp.where(differs, OTHER_REGION, 0).astype(dtype)
