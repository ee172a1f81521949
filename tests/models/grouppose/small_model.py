"""A Group Pose small enough for tests, and batches for it."""

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from configs.grouppose import synthetic_tiny
from querypose_jax.models.grouppose.model import GroupPose
from querypose_jax.structures import Batch

SIZE = (64, 96)


def small_config(**changes) -> ConfigDict:
    """Six queries, two layers each, 32 channels; `changes` are flat keys of config.model."""
    config = synthetic_tiny.get_config()
    config.model.update(
        num_queries=6, num_select=8, dim=32, heads=2, levels=4, encoder_layers=1, encoder_points=2, decoder_layers=2,
        decoder_points=2, ffn_dim=32, faithful_aux=True,
    )  # fmt: skip
    config.model.update_from_flattened_dict(changes)
    return config


def small_model(config: ConfigDict | None = None) -> GroupPose:
    return GroupPose(config or small_config(), nnx.Rngs(0))


def with_moving_heads(model: GroupPose) -> GroupPose:
    """Heads that move points, which fresh ones do not."""
    for index, head in enumerate([model.token_pose, *model.point_heads]):
        last = head.layers[-1].kernel
        last[...] = 0.3 * jax.random.normal(jax.random.key(index), last.shape, last.dtype)
    return model


def people_batch(people=(2, 1), size=SIZE, slots=3, joints=17, scale=1.0, seed=0) -> Batch:
    """A batch whose pictures have so many people; original pixels are `scale` network pixels."""
    height, width = size
    rng = np.random.default_rng(seed)
    count = len(people)
    is_person = np.arange(slots) < np.array(people)[:, None]
    keypoints = np.zeros((count, slots, joints, 3), np.float32)
    keypoints[..., :2] = rng.random((count, slots, joints, 2)) * (width, height)
    keypoints[..., 2] = rng.integers(0, 3, (count, slots, joints))
    keypoints *= is_person[..., None, None]
    affine = np.zeros((count, 2, 3), np.float32)
    affine[:, 0, 0] = affine[:, 1, 1] = scale
    return Batch(
        image=rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8),
        valid_size=np.array([size] * count, np.int32),
        orig_size=np.array([(round(height * scale), round(width * scale))] * count, np.int32),
        image_id=np.arange(count, dtype=np.int32),
        inv_affine=affine,
        boxes=np.concatenate([keypoints[..., :2].min(2), keypoints[..., :2].max(2)], -1),
        keypoints=keypoints,
        area=np.where(is_person, 0.1 * height * width, 0).astype(np.float32),
        label=np.zeros((count, slots), np.int32),
        is_person=is_person,
    )
