"""From maps to people in original pixels, on the device and with fixed shapes (arXiv 2107.03098, section III.D)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from querypose_jax.models.simplepose.grouping import EMPTY, People, group
from querypose_jax.models.simplepose.limbs import find_limbs
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.models.simplepose.peaks import find_candidates
from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import FILLER_ID, Batch, Poses

PIXEL_CENTRE = 0.5  # of a pixel's index in `Poses`; the network's and the release's pixels are whole at the centre


def decode(maps: Maps, batch: Batch, skeleton: Skeleton, config: ConfigDict) -> Poses:
    """The people on B pictures, best first.

    Args:
        maps: of one stack, at stride 4.
        batch: tells where the pictures are.
        skeleton: its joints and limbs.
        config: `config.model.decode`.
    """
    with jax.named_scope("candidates"):
        candidates = find_candidates(maps.heatmaps, config.candidates, config.heatmap_threshold)
        limbs = find_limbs(candidates, maps, skeleton, config)
    with jax.named_scope("grouping"):
        people = group(limbs, skeleton, config.people, config.max_distance)
    return to_poses(*select(people, config.person_threshold), batch)


def merge_mirrored(maps: Maps, mirrored: Maps, flip_index: tuple[int, ...], flip_limbs: tuple[int | None, ...]) -> Maps:
    """Averages maps with those of the mirrored picture, of one stack each.

    A limb that the mirrored picture does not have keeps its own offsets.

    Args:
        maps: of the picture.
        mirrored: of its mirror image, as the network returns them.
        flip_index: joint of the mirror image for each joint.
        flip_limbs: limb of the mirror image for each limb, None where it has none.
    """
    joints = np.array(flip_index)
    has_limb = np.array([limb is not None for limb in flip_limbs])
    limbs = np.array([limb or 0 for limb in flip_limbs])
    offsets = mirrored.offsets[:, :, ::-1][..., limbs, :] * jnp.array([-1, 1], maps.offsets.dtype)

    def of_joints(own: Array, others: Array) -> Array:
        return (own + others[:, :, ::-1][..., joints]) / 2

    return Maps(
        heatmaps=of_joints(maps.heatmaps, mirrored.heatmaps),
        offsets=jnp.where(has_limb[:, None], (maps.offsets + offsets) / 2, maps.offsets),
        scales=None if maps.scales is None else of_joints(maps.scales, mirrored.scales),
    )


def select(people: People, threshold: float) -> tuple[People, Bool[Array, "B P"]]:
    """People whose joints are likely enough on average, best first, and which slots hold one; what is empty becomes 0.

    Joints that are missing do not count here, though they do in the score.
    """
    found = people.score > 0
    mean = jnp.where(found, people.score, 0).sum(-1) / jnp.maximum(found.sum(-1), 1)
    is_person = (mean >= threshold) & found.any(-1)
    order = jnp.argsort(jnp.where(is_person, -mean, jnp.inf), axis=-1, stable=True)
    is_person = jnp.take_along_axis(is_person, order, -1)

    def sort(x: Array) -> Array:
        def spread(rows: Array) -> Array:
            return rows.reshape(*rows.shape, *[1] * (x.ndim - 2))

        rows = jnp.take_along_axis(x, spread(order), 1)
        return jnp.where(spread(is_person) & (rows != EMPTY), rows, 0)

    return jax.tree.map(sort, people), is_person


def to_poses(people: People, is_person: Bool[Array, "B P"], batch: Batch) -> Poses:
    """Selected people in original pixels.

    The score is the sum of the joints' scores over all joints, found or not. Joints that were not found have score 0
    and lie, as released, where the network's pixel (0, 0) does. Boxes are the smallest around those that were found.
    """
    dtype = people.score.dtype
    xy = to_original(people.xy, jnp.asarray(batch.inv_affine, dtype)) + PIXEL_CENTRE
    found = (people.score > 0)[..., None]
    corners = [jnp.where(found, xy, jnp.inf).min(2), jnp.where(found, xy, -jnp.inf).max(2)]
    limit = jnp.asarray(batch.orig_size)[:, None, ::-1].astype(dtype)
    boxes = jnp.concatenate([jnp.clip(corner, 0, limit) for corner in corners], -1)
    is_real = jnp.asarray(batch.image_id) != FILLER_ID
    return Poses(
        scores=people.score.mean(-1),
        labels=jnp.zeros(is_person.shape, jnp.int32),
        valid=is_person & is_real[:, None],
        boxes=jnp.where(is_person[..., None], boxes, 0),
        keypoints=jnp.where(is_person[..., None, None], xy, 0),
        keypoint_scores=people.score,
    )


def to_original(xy: Float[Array, "B P K 2"], affine: Float[Array, "B 2 3"]) -> Float[Array, "B P K 2"]:
    """Network pixels to original pixels; no matrix product, which accelerators would round to a few bits."""
    x, y = xy[..., 0, None], xy[..., 1, None]
    column = affine[:, None, None]
    return column[..., 0] * x + column[..., 1] * y + column[..., 2]


def best(poses: Poses, count: int) -> Poses:
    """The first poses of each picture only; 0 stands for all of them."""
    return jax.tree.map(lambda x: x[:, :count], poses) if count else poses
