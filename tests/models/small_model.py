"""A QueryPose of a few thousand parameters and a batch with people, for tests that need some model."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import synthetic_tiny
from querypose_jax.models.registry import build_model
from querypose_jax.structures import Batch, PeopleBudget


def small_config(**model):
    config = synthetic_tiny.get_config()
    config.model.update(
        num_proposals=6, proposal_grid=(2, 3), dim=16, heads=2, ffn_dim=16, dynamic_dim=4, part_dim=16, flow_dim=8
    )
    config.model.update(model)
    config.model.backbone.width = config.model.dim
    return config


def small_model(seed=0, **model) -> nnx.Module:
    return build_model(small_config(**model), rngs=nnx.Rngs(seed))


def people_batch(people=(2, 0, 1, 3), slots=3, size=(64, 96), budget: PeopleBudget | None = None) -> Batch:
    """Random pictures and people whose keypoints lie in and around their boxes; the last joint is unlabelled."""
    rng = np.random.default_rng(0)
    count, (height, width) = len(people), size
    corner = rng.uniform(0, 40, (count, slots, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 24, (count, slots, 2))], -1)
    keypoints = np.concatenate(
        [corner[:, :, None] + rng.uniform(-4, 28, (count, slots, 17, 2)), np.full((count, slots, 17, 1), 2.0)], -1
    )
    keypoints[:, :, -1] = 0
    is_person = np.arange(slots) < np.array(people)[:, None]
    batch = Batch(
        image=rng.integers(0, 256, (count, height, width, 3), np.uint8),
        valid_size=np.tile(np.array(size, np.int32), (count, 1)),
        orig_size=np.tile(np.array(size, np.int32) * 2, (count, 1)),
        image_id=np.arange(count, dtype=np.int32),
        inv_affine=np.tile(np.array([[2, 0, 0], [0, 2, 0]], np.float32), (count, 1, 1)),
        boxes=(boxes * is_person[..., None]).astype(np.float32),
        keypoints=(keypoints * is_person[..., None, None]).astype(np.float32),
        area=is_person.astype(np.float32),
        label=np.zeros((count, slots), np.int32),
        is_person=is_person,
        budget=budget,
    )
    return jax.tree.map(jnp.asarray, batch)


def loss_and_gradients(model: nnx.Module, batch: Batch):
    """Total, terms, gradients of all parameters, and the state the forward pass leaves behind."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        model = nnx.merge(graphdef, params, rest, copy=True)
        total, terms = model.loss(model(batch, train=True), batch)
        return total, (terms, nnx.state(model, nnx.BatchStat))

    (total, (terms, statistics)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return total, terms, gradients, statistics


def losses(model: nnx.Module, batch: Batch):
    """Total and terms of a training forward pass: compiles in a fraction of the time that gradients take."""
    graphdef, state = nnx.split(model)

    def loss(state, batch):
        model = nnx.merge(graphdef, state, copy=True)
        return model.loss(model(batch, train=True), batch)

    return jax.jit(loss)(state, batch)
