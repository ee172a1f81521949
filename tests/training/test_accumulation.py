"""Micro-batches add up to their batch: losses, gradients, updates; and are refused where they cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import synthetic_tiny
from configs.edpose import synthetic_tiny as edpose_tiny
from configs.grouppose import synthetic_tiny as grouppose_tiny
from querypose_jax.checkpoints.train_state import init_state
from querypose_jax.configuration.check_config import check_config
from querypose_jax.devices import sharding
from querypose_jax.errors import UserError
from querypose_jax.models.base import PoseModel
from querypose_jax.models.registry import abstract_model, build_model
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_gradients, make_train_step, split_micro
from tests.models.grouppose.small_model import people_batch
from tests.training.fakes import fake_config

PEOPLE = (2, 0, 1, 3, 0, 0, 1, 2)  # two of the pictures of a micro-batch of two have nobody


class SumModel(PoseModel):
    """Mean colour -> four numbers; its loss is a sum over people, divided by those of the whole batch."""

    def __init__(self, rngs: nnx.Rngs, width: int = 8):
        self.first, self.last = nnx.Linear(3, width, rngs=rngs), nnx.Linear(width, 4, rngs=rngs)

    def __call__(self, batch, train=False, key=None):
        return self.last(self.first(batch.image.astype(jnp.float32).mean((1, 2)) / 255))

    def loss(self, outputs, batch):
        people = batch.is_person.sum() if batch.whole is None else batch.whole.people
        error = jnp.where(batch.is_person[..., None], jnp.abs(outputs[:, None] - batch.boxes / 64), 0)
        total = error.sum() / jnp.maximum(people, 1)
        return total, {"l1": total}


@pytest.fixture(scope="module")
def summed():
    """Structure and state of a SumModel, mesh and optimizer."""
    config = fake_config()
    mesh, optimizer = sharding.make_mesh(config.mesh), make_optimizer(config.optimizer, 12)
    return (*init_state(SumModel(nnx.Rngs(0)), optimizer), mesh, optimizer, config)


def test_steps_of_micro_batches_are_those_of_the_batch_to_rounding(summed):
    graphdef, state, mesh, optimizer, config = summed
    batch = sharding.put_batch(people_batch(PEOPLE), mesh)
    after = []
    for parts in (1, 2, 8):
        schedule = learning_rate(config.optimizer, 12)
        step = make_train_step(graphdef, optimizer, schedule, mesh, accumulate=parts)
        with jax.set_mesh(mesh):
            after.append(step(sharding.replicate(jax.tree.map(jnp.copy, state), mesh), batch))
    for other in after[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after[0], other)


def test_every_device_works_on_its_own_pictures_in_every_part(monkeypatch):
    monkeypatch.setattr(jax.lax, "with_sharding_constraint", lambda x, place: x)  # there are no four devices here
    four = jax.sharding.AbstractMesh((2, 2), ("data", "fsdp"))  # device d has pictures 2 d and 2 d + 1
    parts = split_micro(jax.tree.map(jnp.asarray, people_batch(PEOPLE)), 2, four)
    assert parts.image_id.tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert parts.image.shape == (2, 4, 64, 96, 3)


@pytest.mark.slow
@pytest.mark.parametrize("tiny", [grouppose_tiny, edpose_tiny], ids=["grouppose", "edpose"])
def test_losses_and_gradients_of_a_family_add_up(tiny):
    """A model without running statistics: a resnet, whose batch norm is frozen. Noise of ED-Pose is set to nothing."""
    config = tiny.get_config()
    config.model.update(num_queries=6, num_select=6, dim=32, heads=2, encoder_layers=1, decoder_layers=3, ffn_dim=32)
    config.model.backbone.update(name="resnet", depth=50)
    if config.model.name == "edpose":
        config.model.update(num_instances=4, box_layers=1)
        config.model.denoising.update(queries=6, label_noise=0.0, box_noise=0.0)
    graphdef, state = init_state(build_model(config, rngs=nnx.Rngs(0)), make_optimizer(config.optimizer, 12))
    mesh = sharding.make_mesh(config.mesh)
    batch = jax.tree.map(jnp.asarray, people_batch((2, 1, 1, 3)))
    with jax.set_mesh(mesh):
        whole, parts = (jax.jit(make_gradients(graphdef, mesh, accumulate=n))(state, batch)[:3] for n in (1, 2))
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-4)
    for name, value in whole[1].items():
        np.testing.assert_allclose(parts[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    for a, b in zip(jax.tree.leaves(whole[2]), jax.tree.leaves(parts[2]), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-2, atol=1e-4 * max(float(jnp.abs(a).max()), 1))


@pytest.mark.parametrize(
    "tiny", [synthetic_tiny, grouppose_tiny, edpose_tiny], ids=["querypose", "grouppose", "edpose"]
)
def test_a_model_with_batch_norm_is_refused_in_one_line(tiny):
    config = tiny.get_config()
    config.train.accumulate = 2
    with pytest.raises(UserError, match=r"^config.train.accumulate=2 must be 1 here: this model's batch norm takes"):
        check_config(config)


@pytest.mark.parametrize("tiny", [grouppose_tiny, edpose_tiny], ids=["grouppose", "edpose"])
def test_released_models_keep_no_running_statistics(tiny):
    config = tiny.get_config()
    config.model.backbone.update(name="resnet", depth=50)
    assert not jax.tree.leaves(nnx.filter_state(abstract_model(config)[1], nnx.BatchStat))
    config.train.accumulate = 2
    check_config(config)
    config.train.accumulate = 3
    with pytest.raises(UserError, match=r"^config.train.accumulate=3 must divide the pictures of a device"):
        check_config(config)


def test_a_micro_batch_knows_its_whole(summed):
    graphdef, state, mesh, *_ = summed
    seen = []

    class Looking(SumModel):
        def loss(self, outputs, batch):
            seen.append(batch.whole.pictures)
            return super().loss(outputs, batch)

    graphdef = nnx.split(Looking(nnx.Rngs(0)))[0]
    batch = jax.tree.map(jnp.asarray, people_batch(PEOPLE))
    with jax.set_mesh(mesh):
        total = jax.jit(make_gradients(graphdef, mesh, accumulate=4))(state, batch)[0]
    assert set(seen) == {len(PEOPLE)} and np.isfinite(float(total))
