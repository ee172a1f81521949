"""A family of one convolution and one linear head: what it takes to add a model, and the proof that nothing else knows
which families there are. docs/add_a_model.md walks through this file."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from querypose_jax.backbones.backbone import normalise
from querypose_jax.checks import check_ranges
from querypose_jax.models.base import PoseModel
from querypose_jax.models.family import Family
from querypose_jax.models.registry import register
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import FILLER_ID, Batch, Poses


class Toy(PoseModel):
    """Mean features of a picture -> a score, a box and the joints of each of a few people."""

    def __init__(self, config: ConfigDict, rngs: nnx.Rngs):
        """`config` is the whole configuration."""
        self.skeleton = get_skeleton(config.data.skeleton)
        self.people = config.model.people
        self.dtype = jnp.dtype(config.model.dtype)
        numbers = 1 + 4 + 2 * self.skeleton.num_keypoints
        self.conv = nnx.Conv(3, config.model.width, (8, 8), strides=8, dtype=self.dtype, rngs=rngs)
        self.head = nnx.Linear(config.model.width, self.people * numbers, dtype=self.dtype, rngs=rngs)

    def __call__(self, batch: Batch, train: bool = False, key=None) -> Float[Array, "B N _"]:
        """Score logit, box and joints of each person, relative to the picture."""
        features = nnx.relu(self.conv(normalise(batch, self.dtype))).mean((1, 2))
        return self.head(features).reshape(len(batch.image), self.people, -1).astype(jnp.float32)

    def loss(self, outputs: Float[Array, "B N _"], batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Person n of a picture is told apart by nothing but n: L1 to the n-th labelled one."""
        slots = min(self.people, batch.is_person.shape[1])
        is_person = batch.is_person[:, :slots]
        scale = jnp.tile(batch.valid_size[:, None, ::-1], 2).astype(jnp.float32)
        boxes = jnp.abs(outputs[:, :slots, 1:5] - batch.boxes[:, :slots] / scale).sum(-1)
        scores = jnp.logaddexp(0, outputs[:, :slots, 0]) - outputs[:, :slots, 0] * is_person
        terms = {
            "loss_box": (boxes * is_person).sum() / jnp.maximum(is_person.sum(), 1),
            "loss_score": scores.mean(),
        }
        return sum(terms.values()), terms

    def decode(self, outputs: Float[Array, "B N _"], batch: Batch) -> Poses:
        """Everything scaled to the picture and mapped to original pixels."""
        count = outputs.shape[:2]
        scale = batch.valid_size[:, None, None, ::-1].astype(jnp.float32)
        points = outputs[..., 1:].reshape(*count, -1, 2) * scale
        affine = jnp.asarray(batch.inv_affine)[:, None, None]
        points = (affine[..., :2] * points[..., None, :]).sum(-1) + affine[..., 2]
        low, high = points[:, :, :2].min(2), points[:, :, :2].max(2)
        scores = jax.nn.sigmoid(outputs[..., 0])
        return Poses(
            scores=scores,
            labels=jnp.zeros(count, jnp.int32),
            valid=jnp.broadcast_to((batch.image_id != FILLER_ID)[:, None], count),
            boxes=jnp.concatenate([low, high], -1),
            keypoints=points[:, :, 2:],
            keypoint_scores=jnp.broadcast_to(scores[..., None], (*count, self.skeleton.num_keypoints)),
        )


def check(config: ConfigDict) -> None:
    """Raises UserError where a number makes no model."""
    check_ranges(config, positive=("model.people", "model.width"))


register("toy", Family(build=Toy, defaults="tests.toy.defaults", check=check))
