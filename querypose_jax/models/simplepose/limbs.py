"""Candidate limbs: every candidate of a limb's start with the candidate of its end that its offset points to."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from querypose_jax.backbones.hourglass import STRIDE
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.models.simplepose.peaks import Candidates
from querypose_jax.skeletons import Skeleton


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Limbs:
    """C candidates of each of E limbs. The axis of length 2 after C: start and end."""

    xy: Float[Array, "*B C 2 2"]
    """Network pixels."""
    joint_score: Float[Array, "*B C 2"]
    joint_scale: Float[Array, "*B C 2"]
    """Network pixels."""
    id: Int[Array, "*B C 2"]
    """One number for every pixel of every heatmap."""
    distance: Float[Array, "*B C"]
    """From where the offset points to the end, network pixels."""
    length: Float[Array, "*B C"]
    score: Float[Array, "*B C"]
    """Both joints' scores x exp(-distance / length)."""


def find_limbs(candidates: Candidates, maps: Maps, skeleton: Skeleton, config: ConfigDict) -> Limbs:
    """The limbs of B pictures, [B, E, C].

    Args:
        candidates: of all joints.
        maps: of one stack, at stride 4.
        skeleton: its limbs.
        config: `config.model.decode`.
    """
    starts, ends = (jnp.array(joints) for joints in zip(*skeleton.limbs, strict=True))
    height, width = (STRIDE * cells for cells in maps.offsets.shape[1:3])
    page = jnp.arange(skeleton.num_keypoints, dtype=jnp.int32) * (height * width)
    ids = candidates.index + page[:, None]
    scales = joint_scales(candidates, maps, config.no_scale)

    index = candidates.index[:, starts]
    offset = bilinear(jnp.moveaxis(maps.offsets, 3, 1), index % width, index // width)
    guide = candidates.xy[:, starts] + offset  # B E C 2
    way = guide[:, :, :, None] - candidates.xy[:, ends][:, :, None]  # B E C C 2
    distances = jnp.sqrt(jnp.square(way).sum(-1))
    nearest = distances.argmin(-1)

    def both(of_joint: Array) -> Array:
        """[B, K, C, ...] -> [B, E, C, 2, ...]"""
        end = of_joint[:, ends]
        chosen = jnp.take_along_axis(end, nearest.reshape(*nearest.shape, *[1] * (end.ndim - 3)), 2)
        return jnp.stack([of_joint[:, starts], chosen], 3)

    xy, joint_score, distance = both(candidates.xy), both(candidates.score), distances.min(-1)
    way = xy[..., 0, :] - xy[..., 1, :]
    length = jnp.maximum(jnp.sqrt(jnp.square(way).sum(-1)), config.min_length)
    return Limbs(
        xy=xy,
        joint_score=joint_score,
        joint_scale=both(scales),
        id=both(ids),
        distance=distance,
        length=length,
        score=joint_score.prod(-1) * jnp.exp(-distance / length),
    )


def is_usable(limbs: Limbs, max_distance: float) -> Bool[Array, "*B C"]:
    """Limbs that grouping looks at: the offset points near enough to a joint, and both joints are in the picture."""
    is_near = limbs.distance < jnp.maximum(max_distance, limbs.joint_scale[..., 1])
    return is_near & (limbs.xy > 0).all((-1, -2))


def joint_scales(candidates: Candidates, maps: Maps, otherwise: float) -> Float[Array, "B K C"]:
    """What the scale head says at the candidates, or one number where there is none."""
    if maps.scales is None:
        return jnp.full_like(candidates.score, otherwise)
    width = STRIDE * maps.scales.shape[2]
    x, y = candidates.index % width, candidates.index // width
    return bilinear(jnp.moveaxis(maps.scales, 3, 1)[..., None], x, y)[..., 0]


def bilinear(
    maps: Float[Array, "B J h w D"], x: Int[Array, "B J C"], y: Int[Array, "B J C"]
) -> Float[Array, "B J C D"]:
    """The numbers that maps enlarged four times bilinearly would hold at pixels; half-pixel centres, clamped border."""
    height, width = maps.shape[2:4]
    (left, right, x_share), (top, bottom, y_share) = neighbours(x, width), neighbours(y, height)
    read = jax.vmap(jax.vmap(lambda cells, row, column: cells[row, column]))
    x_share, y_share = (share.astype(maps.dtype)[..., None] for share in (x_share, y_share))
    above = read(maps, top, left) * (1 - x_share) + read(maps, top, right) * x_share
    below = read(maps, bottom, left) * (1 - x_share) + read(maps, bottom, right) * x_share
    return above * (1 - y_share) + below * y_share


def neighbours(pixel: Int[Array, "*B"], cells: int) -> tuple[Int[Array, "*B"], Int[Array, "*B"], Float[Array, "*B"]]:
    """The two cells between whose middles a pixel lies, and the share of the second; eighths, exact in every type."""
    eighths = 2 * pixel + 1 - STRIDE  # from the middle of cell 0
    first, share = jnp.floor_divide(eighths, 2 * STRIDE), jnp.mod(eighths, 2 * STRIDE) / (2 * STRIDE)
    return jnp.clip(first, 0, cells - 1), jnp.clip(first + 1, 0, cells - 1), share
