"""Candidate joints: the highest peaks of each heatmap at full resolution (arXiv 2107.03098, section III.D)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from querypose_jax.backbones.hourglass import STRIDE
from querypose_jax.recipes.cubic import cubic_kernel

OUTSIDE = 100_000.0  # pixels by which candidates that are too low are moved out of the picture, as released
# Pixel 4i + p lies (p - 1.5) / 4 cells from the middle of cell i; weights of the cells i - 2 .. i + 2.
PHASE_WEIGHTS = cubic_kernel((np.arange(STRIDE)[:, None] - 1.5) / STRIDE - np.arange(-2, 3))


class Candidates(NamedTuple):
    """C candidates of each joint, best first; equal ones by index."""

    score: Float[Array, "B K C"]
    xy: Float[Array, "B K C 2"]
    """Pixels of the network; far outside where the score is too low."""
    index: Int[Array, "B K C"]
    """y * width + x."""


def find_candidates(heatmaps: Float[Array, "B h w K"], count: int, threshold: float) -> Candidates:
    """The `count` highest peaks of heatmaps at stride 4, enlarged to the size of the picture."""
    return highest_peaks(enlarge(jnp.moveaxis(heatmaps, -1, 1)), count, threshold)


def highest_peaks(maps: Float[Array, "B K H W"], count: int, threshold: float) -> Candidates:
    """The `count` highest pixels that no neighbour exceeds.

    As released, pixels outside of the picture count as 0, and so do those that are no peaks: they fill up the list.
    """
    width = maps.shape[-1]
    values = jnp.where(is_peak(maps), maps, 0)
    score, index = jax.lax.top_k(values.reshape(*values.shape[:2], -1), count)  # of equal values the first ones
    xy = jnp.stack([index % width, index // width], -1).astype(score.dtype)
    return Candidates(score, xy - jnp.where(score < threshold, OUTSIDE, 0)[..., None], index.astype(jnp.int32))


def is_peak(maps: Float[Array, "B K H W"]) -> Array:
    """True where a pixel equals the maximum of the 3x3 window around it; the border is zero."""
    highest = jnp.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    highest = jnp.maximum(jnp.maximum(highest[:, :, :-2], highest[:, :, 1:-1]), highest[:, :, 2:])
    highest = jnp.maximum(jnp.maximum(highest[..., :-2], highest[..., 1:-1]), highest[..., 2:])
    return maps == highest


def enlarge(maps: Float[Array, "B K h w"]) -> Float[Array, "B K H W"]:
    """Bicubic (a = -0.75; JAX's own has -0.5), four times as large; half-pixel centres, clamped border."""
    return enlarge_axis(enlarge_axis(maps, 2), 3)


def enlarge_axis(maps: Float[Array, "B K _ _"], axis: int) -> Float[Array, "B K _ _"]:
    """Four times as many cells along one axis: each of the four phases is a weighted sum of five neighbours."""
    cells = maps.shape[axis]
    padding = [(2, 2) if i == axis else (0, 0) for i in range(maps.ndim)]
    padded = jnp.pad(maps, padding, mode="edge")
    neighbours = [jax.lax.slice_in_dim(padded, tap, tap + cells, axis=axis) for tap in range(5)]
    phases = [
        sum(float(weight) * x for weight, x in zip(weights, neighbours, strict=True) if weight)
        for weights in PHASE_WEIGHTS
    ]
    shape = (*maps.shape[:axis], STRIDE * cells, *maps.shape[axis + 1 :])
    return jnp.stack(phases, axis + 1).reshape(shape)
