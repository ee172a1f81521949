"""Losses of SimplePose V2, each of both stacks (arXiv 2107.03098, section III.C)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.models.simplepose.targets import Targets


def simplepose_loss(
    maps: Maps, targets: Targets, config: ConfigDict, threshold: float
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Weighted total, and the unweighted terms `heatmap`, `offset` and, with a scale head, `scale`.

    Stacks are averaged. The release divides what it sums on one device by the pictures there, and the offset's errors
    by their number there too; here groups of `pictures_per_group` neighbouring pictures stand for devices and are
    averaged, so that results do not depend on the mesh.

    A total above `drop_above` becomes infinite: a bad step, which changes nothing. The release sets loss and gradients
    to 0, with which Adam still moves.

    Args:
        maps: of all stacks.
        targets: of the same pictures.
        config: `config.model.loss`.
        threshold: of target heatmaps from which on a cell is foreground.

    Raises:
        UserError: a batch that does not split into groups.
    """
    groups, pictures = split_in_groups(len(targets.heatmaps), config.pictures_per_group)
    stacks = len(maps.heatmaps)
    counted = targets.is_counted[..., None]

    def per_group(x: Array) -> Array:  # S B ... -> S groups cells
        return x.reshape(stacks, groups, -1)

    focal = focal_l2(maps.heatmaps, targets.heatmaps, config.focal_gamma, threshold)
    terms = {"heatmap": per_group(jnp.where(counted, focal, 0)).sum(-1)}
    weights = {"heatmap": config.heatmap_weight, "offset": config.offset_weight}
    scale = targets.person_scale[..., None]
    error = jnp.abs(maps.offsets / scale - targets.offsets / scale)
    is_kept = counted[..., None] & targets.is_offset[..., None] & (error >= config.offset_margin)
    terms["offset"] = root_mean(per_group(error), per_group(is_kept))
    if maps.scales is not None:
        error = jnp.abs(maps.scales - targets.scales)
        is_kept = counted & targets.is_scale & (error >= config.scale_margin)
        terms["scale"] = root_mean(per_group(error), per_group(is_kept))
        weights["scale"] = config.scale_weight
    means = {name: term.mean() / pictures for name, term in terms.items()}
    total = sum(weights[name] * mean for name, mean in means.items())
    return jnp.where(total > config.drop_above, jnp.inf, total), means


def focal_l2(
    predicted: Float[Array, "S B h w K"], target: Float[Array, "B h w K"], gamma: float, threshold: float
) -> Float[Array, "S B h w K"]:
    """Squared error, weighted by how far a cell is from what it should be (section 5 of the paper; elementwise).

    Gradients flow through the weight, as in the release.
    """
    certainty = jnp.where(target >= threshold, predicted, 1 - predicted)
    return 0.5 * jnp.square(predicted - target) * jnp.abs(1 - certainty) ** gamma


def root_mean(
    error: Float[Array, "S groups cells"], is_kept: Bool[Array, "S groups cells"]
) -> Float[Array, "S groups"]:
    """Sum of the square roots of the errors that are kept, divided by their number and one more."""
    roots = jnp.where(is_kept, jnp.sqrt(jnp.where(is_kept, error, 1)), 0)
    return roots.sum(-1) / (1 + is_kept.sum(-1)).astype(error.dtype)


def split_in_groups(pictures: int, pictures_per_group: int) -> tuple[int, int]:
    """Number of groups and pictures in each; 0 stands for one group of all, and so does more than there are."""
    size = min(pictures_per_group or pictures, pictures)
    if pictures % size:
        raise UserError(
            f"model.loss.pictures_per_group={size} does not divide a batch of {pictures} pictures; "
            "choose a divisor, or 0 for the whole batch"
        )
    return pictures // size, size
