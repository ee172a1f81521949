"""A stand-in for a pose model: it finds the red rectangle of a picture, so that every frame change can be checked."""

import jax.numpy as jnp
import pytest
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.inference.predictor import Predictor
from querypose_jax.models.base import PoseModel
from querypose_jax.skeletons import COCO
from querypose_jax.structures import Poses

K = COCO.num_keypoints
SCORES = (0.2, 0.9, 0.6, 0.95)  # of the four queries; the last one is never valid


class RedRectangle(PoseModel):
    """Four queries, all at the bounding box of the red pixels; joints go from its top left to its bottom right."""

    def __init__(self):
        self.offset = nnx.Param(jnp.zeros(()))

    def __call__(self, batch, train=False):
        image = batch.image.astype(jnp.int32)
        red = (image[..., 0] > 150) & (image[..., 1] < 100)
        return jnp.concatenate([_extent(red.any(1)), _extent(red.any(2))], -1)[..., (0, 2, 1, 3)] + self.offset[...]

    def decode(self, outputs, batch):
        scale = batch.inv_affine[:, (0, 1), (0, 1)]
        box = jnp.repeat((outputs * jnp.tile(scale, (1, 2)))[:, None], 4, 1)  # [B, N, 4]
        steps = jnp.linspace(0, 1, K)[:, None]
        return Poses(
            scores=jnp.tile(jnp.array(SCORES), (len(box), 1)),
            labels=jnp.zeros(box.shape[:2], jnp.int32),
            valid=jnp.tile(jnp.array([True, True, True, False]), (len(box), 1)),
            boxes=box,
            keypoints=box[:, :, None, :2] * (1 - steps) + box[:, :, None, 2:] * steps,
            keypoint_scores=jnp.full((*box.shape[:2], K), 0.8),
        )


def _extent(hit):
    """[B, L] -> first hit and one past the last, [B, 2]."""
    length = hit.shape[-1]
    return jnp.stack([hit.argmax(-1), length - hit[:, ::-1].argmax(-1)], -1).astype(jnp.float32)


def red_predictor() -> Predictor:
    data = dict(recipe="querypose", eval_short_side=64, longest_side=128, canvases=((64, 96), (96, 64), (128, 128)))
    config = ConfigDict(dict(data=data, eval=dict(batch_size=2, canvas="ladder")))
    return Predictor(config, *nnx.split(RedRectangle()), COCO)


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return red_predictor()
