"""What the maps should hold, made on the device from joints (arXiv 2107.03098, sections III.A and III.B).

Cell i of an axis stands for pixel 4i + 1.5, the middle of the four it covers; whole numbers are pixel centres. Windows
are whole cells: Python's and numpy's rounding of their ends, halves to the even cell, decides where they lie.
"""

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from querypose_jax.backbones.hourglass import STRIDE
from querypose_jax.layers.linear import at_least_float32
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.skeletons import Skeleton, get_skeleton
from querypose_jax.structures import Batch


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Targets:
    """Of a batch, at stride 4; E = limbs of the skeleton. Without label targets are 0 and person scales 1."""

    heatmaps: Float[Array, "B h w K"]
    offsets: Float[Array, "B h w E 2"]
    """From the cell to the end of the limb, network pixels."""
    is_offset: Bool[Array, "B h w E"]
    person_scale: Float[Array, "B h w E"]
    """Square root of the box of the person whose limb it is, network pixels."""
    is_counted: Bool[Array, "B h w"]
    """Cells where losses count."""
    scales: Float[Array, "B h w K"] | None = None
    """Size of the joint, network pixels; None without a scale head."""
    is_scale: Bool[Array, "B h w K"] | None = None


def make_targets(
    batch: Batch, skeleton: Skeleton, config: ConfigDict, dtype: jnp.dtype, with_scales: bool = False
) -> Targets:
    """Targets of the people of a batch.

    Args:
        batch: joints and person scales in network pixels; a batch without loss mask counts everywhere.
        skeleton: its limbs and, for joint scales, sigmas.
        config: `config.model.targets`.
        dtype: of the targets, at least float32.
        with_scales: with those of the scale head.
    """
    wide = at_least_float32(dtype)
    height, width = (side // STRIDE for side in batch.image.shape[1:3])
    joints = jnp.asarray(batch.keypoints, wide)
    is_labelled = (joints[..., 2] > 0) & batch.is_person[..., None]
    xy = joints[..., :2]
    size = jnp.asarray(batch.person_scale, wide)
    offsets, is_offset, scale = limb_targets(xy, is_labelled, size, skeleton, config, (height, width))
    mask = batch.loss_mask
    targets = Targets(
        heatmaps=heatmap_targets(xy, is_labelled, config, (height, width)),
        offsets=offsets,
        is_offset=is_offset,
        person_scale=jnp.where(is_offset, scale, 1),
        is_counted=jnp.ones((len(joints), height, width), bool) if mask is None else jnp.asarray(mask),
    )
    if not with_scales:
        return targets
    return with_scale_targets(targets, skeleton, config.min_joint_scale)


def ideal_maps(config: ConfigDict, batch: Batch) -> Maps:
    """The targets of a batch's people as if they were the maps of one stack [1 B ...]; `config` is the whole one."""
    targets = make_targets(batch, get_skeleton(config.data.skeleton), config.model.targets, jnp.dtype("float32"))
    return Maps(targets.heatmaps[None], targets.offsets[None])


def heatmap_targets(
    xy: Float[Array, "B G K 2"], is_labelled: Bool[Array, "B G K"], config: ConfigDict, size: tuple[int, int]
) -> Float[Array, "B h w K"]:
    """Gaussians of sigma pixels around the joints, 0 below the threshold; of overlapping ones the larger."""
    reach = 1.0 * math.ceil(math.sqrt(-2 * config.sigma**2 * math.log(config.tau)) / STRIDE)
    x, y = across(xy[..., 0], size[1], reach), across(xy[..., 1], size[0], reach)
    is_near = y.is_near[:, :, None] & x.is_near[:, None] & people_last(is_labelled)[:, None, None]  # B h w K G
    along_y, along_x = (jnp.exp(-jnp.square(axis.distance) / (2 * config.sigma**2)) for axis in (y, x))
    gaussian = along_y[:, :, None] * along_x[:, None]
    return jnp.where(is_near & (gaussian >= config.tau), gaussian, 0).max(-1, initial=0)


def limb_targets(
    xy: Float[Array, "B G K 2"],
    is_labelled: Bool[Array, "B G K"],
    person_scale: Float[Array, "B G"],
    skeleton: Skeleton,
    config: ConfigDict,
    size: tuple[int, int],
) -> tuple[Float[Array, "B h w E 2"], Bool[Array, "B h w E"], Float[Array, "B h w E"]]:
    """Offsets in the windows around the starts of limbs of which both ends are labelled.

    Where windows overlap the shorter offset stays, of equal ones the first person's.

    Returns:
        offsets, where there is one, and the scale of the person whose limb it is; numbers are 0 where there is none.
    """
    starts, ends = (list(joints) for joints in zip(*skeleton.limbs, strict=True))
    is_limb = people_last(is_labelled[..., starts] & is_labelled[..., ends])  # B E G
    start, end = xy[..., starts, :], xy[..., ends, :]
    x = across(start[..., 0], size[1], config.offset_window, end[..., 0])
    y = across(start[..., 1], size[0], config.offset_window, end[..., 1])
    is_near = y.is_near[:, :, None] & x.is_near[:, None] & is_limb[:, None, None]  # B h w E G
    squared = jnp.square(y.distance)[:, :, None] + jnp.square(x.distance)[:, None]
    nearest = jnp.where(is_near, squared, jnp.inf).argmin(-1)
    is_chosen = is_near & (nearest[..., None] == jnp.arange(xy.shape[1]))

    def of_chosen(value: Float[Array, "B _ _ E G"]) -> Float[Array, "B h w E"]:  # a sum of one: no gather
        return jnp.where(is_chosen, value, 0).sum(-1)

    scale = jnp.broadcast_to(person_scale[:, None, None, None], (len(xy), 1, 1, *is_limb.shape[1:]))
    offsets = jnp.stack([of_chosen(x.distance[:, None]), of_chosen(y.distance[:, :, None])], -1)
    return offsets, is_near.any(-1), of_chosen(scale)


def with_scale_targets(targets: Targets, skeleton: Skeleton, smallest: float) -> Targets:
    """Adds the sizes of the limbs' start joints, person scale x OKS sigma, in the windows of the offsets.

    As released: limbs with the same start joint write one after the other, one that is too small writes "no label",
    and joints that start no limb have none.
    """
    nothing = jnp.zeros_like(targets.heatmaps[..., 0])

    def of_joint(joint: int) -> Float[Array, "B h w"]:  # 0: no label
        scale = nothing
        for limb, (start, _) in enumerate(skeleton.limbs):
            if start == joint:
                written = targets.person_scale[..., limb] * skeleton.sigmas[joint]
                written = jnp.where(written >= smallest, written, 0)
                scale = jnp.where(targets.is_offset[..., limb], written, scale)
        return scale

    scales = jnp.stack([of_joint(joint) for joint in range(skeleton.num_keypoints)], -1)
    return replace(targets, scales=scales, is_scale=scales > 0)


@dataclass(frozen=True)
class Axis:
    """One axis of the windows of all joints (or limbs) J of all people."""

    distance: Float[Array, "B c J G"]
    """From a cell to the target, pixels."""
    is_near: Bool[Array, "B c J G"]
    """Cells of the window."""


def across(
    at: Float[Array, "B G J"], cells: int, reach: int | float, target: Float[Array, "B G J"] | None = None
) -> Axis:
    """Windows of `reach` cells to both sides of coordinates `at`, and the way to `target` (None: to `at`)."""
    at = people_last(at)[:, None]  # B 1 J G
    target = at if target is None else people_last(target)[:, None]
    cell = jnp.arange(cells)[:, None, None]
    first, end = jnp.round(at / STRIDE - reach), jnp.round(at / STRIDE + reach)
    pixel = cell * STRIDE + (STRIDE - 1) / 2
    return Axis(distance=target - pixel.astype(at.dtype), is_near=(cell >= first) & (cell < end))


def people_last(x: Array) -> Array:
    """[B, G, J] -> [B, J, G]: maxima over people run along the last axis."""
    return x.swapaxes(1, 2)
