"""What a SimplePose sees, for figures: its maps, and people as they grow while limbs are joined."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array

from querypose_jax.backbones.backbone import normalise
from querypose_jax.backbones.hourglass import STRIDE
from querypose_jax.models.family import JointExplanation
from querypose_jax.models.simplepose.decode import to_poses
from querypose_jax.models.simplepose.grouping import EMPTY, People, group_in_steps
from querypose_jax.models.simplepose.limbs import find_limbs
from querypose_jax.models.simplepose.model import SimplePose, last_stack
from querypose_jax.models.simplepose.peaks import find_candidates
from querypose_jax.structures import Batch, Poses


def explain(model: SimplePose, batch: Batch) -> JointExplanation:
    """Predicts a batch and keeps what is found on the way."""
    settings = model.config.decode
    outputs = model.network(normalise(batch, model.dtype))
    maps = last_stack(outputs)
    candidates = find_candidates(maps.heatmaps, settings.candidates, settings.heatmap_threshold)
    limbs = find_limbs(candidates, maps, model.skeleton, settings)
    people = group_in_steps(limbs, model.skeleton, settings.people, settings.max_distance)
    steps = [poses_of(jax.tree.map(lambda x, e=e: x[:, e], people), batch) for e in range(len(model.skeleton.limbs))]
    return JointExplanation(model.decode(outputs, batch), steps, maps.heatmaps, maps.offsets, STRIDE)


def poses_of(people: People, batch: Batch) -> Poses:
    """Everybody there is so far, however unlikely; joints that are missing have score 0."""
    is_joint = people.id != EMPTY

    def zero(x: Array) -> Array:
        return jnp.where(is_joint.reshape(*is_joint.shape, *[1] * (x.ndim - is_joint.ndim)), x, 0)

    return to_poses(replace(jax.tree.map(zero, people), id=people.id), is_joint.any(-1), batch)
