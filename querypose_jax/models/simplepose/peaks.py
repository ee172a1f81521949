"""Candidate joints: the highest peaks of each heatmap at full resolution (arXiv 2107.03098, section III.D)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from querypose_jax.backbones.hourglass import STRIDE
from querypose_jax.recipes.cubic import cubic_kernel

OUTSIDE = 100_000.0  # pixels by which candidates that are too low are moved out of the picture, as released


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Candidates:
    """C candidates of each joint, best first; equal ones by index."""

    score: Float[Array, "B K C"]
    xy: Float[Array, "B K C 2"]
    """Pixels of the network; far outside where the score is too low."""
    index: Int[Array, "B K C"]
    """y * width + x."""


def find_candidates(heatmaps: Float[Array, "B h w K"], count: int, threshold: float) -> Candidates:
    """The `count` highest peaks of heatmaps at stride 4, enlarged to the size of the picture."""
    return highest_peaks(enlarge(heatmaps), count, threshold)


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


def enlarge(maps: Float[Array, "B h w K"]) -> Float[Array, "B K H W"]:
    """Bicubic (a = -0.75; JAX's own has -0.5), four times as large; half-pixel centres, clamped border.

    Two products with weights that are mostly zero: accelerators are fast at these, and XLA keeps their result, where it
    would compute a sum of neighbours anew for each of the nine pixels that a peak is compared with.
    """
    height, width = (jnp.asarray(enlarging(cells), maps.dtype) for cells in maps.shape[1:3])
    return jnp.einsum("Hh,bhwk,Ww->bkHW", height, maps, width, precision="highest")


def enlarging(cells: int) -> np.ndarray:
    """[4 cells, cells]: weights of the cells in each pixel of an axis that becomes four times as long."""
    position = (np.arange(STRIDE * cells) + 0.5) / STRIDE - 0.5
    first = np.floor(position).astype(int) - 1
    weights = np.zeros((STRIDE * cells, cells))
    for tap in range(4):
        cell = first + tap
        np.add.at(weights, (np.arange(STRIDE * cells), cell.clip(0, cells - 1)), cubic_kernel(position - cell))
    return weights
