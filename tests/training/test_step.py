import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.checkpoints.train_state import init_state
from querypose_jax.devices import sharding
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_train_step
from tests.training.fakes import FakeModel, fake_batches, fake_config


@pytest.fixture
def one_step():
    """State before, state after, metrics; on one device."""
    config = fake_config()
    mesh = sharding.make_mesh(config.mesh)
    optimizer = make_optimizer(config.optimizer, 12)
    graphdef, state = init_state(FakeModel(nnx.Rngs(0)), optimizer)
    before = jax.tree.map(np.array, state)
    step = make_train_step(graphdef, optimizer, learning_rate(config.optimizer, 12), mesh)
    batch = next(fake_batches()(0))
    with jax.set_mesh(mesh):
        after, metrics = step(sharding.replicate(state, mesh), sharding.put_batch(batch, mesh))
    return graphdef, before, after, metrics, batch


def test_only_parameters_move_frozen_weights_stay_statistics_follow(one_step):
    _, before, after, _, _ = one_step
    for layer in ("backbone", "flow"):
        assert (np.asarray(after.params[layer]["kernel"][...]) != before.params[layer]["kernel"][...]).any()
    np.testing.assert_array_equal(after.rest["scale"][...], before.rest["scale"][...])
    assert (np.asarray(after.rest["norm"]["mean"][...]) != before.rest["norm"]["mean"][...]).all()
    assert int(after.step) == 1


def test_metrics_are_those_of_the_parameters_before_the_update(one_step):
    graphdef, before, _, metrics, batch = one_step
    model = nnx.merge(graphdef, before.model)
    total, terms = model.loss(model(batch, train=True), batch)
    assert set(metrics) == {"loss/total", "loss/l1", "loss/constant", "grad_norm", "learning_rate", "skipped"}
    np.testing.assert_allclose(metrics["loss/total"], total, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/l1"], terms["l1"], rtol=1e-5)
    np.testing.assert_allclose(metrics["learning_rate"], 1e-3 * 0.01, rtol=1e-5)


def test_the_optimizer_sees_trainable_parameters_only(one_step):
    _, before, _, _, _ = one_step
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(before.params)]
    assert len(names) == 6
    assert not any("scale" in name and "norm" not in name for name in names)


def test_initialisers_that_share_an_array_do_not_break_donation():
    model = FakeModel(nnx.Rngs(0))
    model.norm.bias[...] = model.norm.mean[...]
    _, state = init_state(model, make_optimizer(fake_config().optimizer, 12))
    assert state.params["norm"]["bias"][...] is not state.rest["norm"]["mean"][...]
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(pointers) == len(set(pointers))


class DrawingModel(FakeModel):
    """Its loss tells what was drawn."""

    def __call__(self, batch, train=False, key=None):
        return super().__call__(batch, train), jax.random.uniform(key)

    def loss(self, outputs, batch):
        total, terms = super().loss(outputs[0], batch)
        return total, terms | {"drawn": outputs[1]}


def test_what_a_model_draws_follows_from_seed_and_step_alone():
    config = fake_config()
    mesh = sharding.make_mesh(config.mesh)
    optimizer = make_optimizer(config.optimizer, 12)
    graphdef, state = init_state(DrawingModel(nnx.Rngs(0)), optimizer)
    batch = sharding.put_batch(next(fake_batches()(0)), mesh)

    def drawn(seed, step):
        train_step = make_train_step(graphdef, optimizer, learning_rate(config.optimizer, 12), mesh, seed=seed)
        with jax.set_mesh(mesh):
            start = dataclasses.replace(jax.tree.map(jnp.copy, state), step=jnp.asarray(step, jnp.int32))
            return float(train_step(sharding.replicate(start, mesh), batch)[1]["loss/drawn"])

    assert drawn(0, 5) == drawn(0, 5)
    assert len({drawn(0, 5), drawn(0, 6), drawn(1, 5)}) == 3
