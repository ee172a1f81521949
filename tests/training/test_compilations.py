"""A run compiles once for every canvas and row budget, however often they come back."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from querypose_jax.checkpoints.train_state import init_state
from querypose_jax.devices import sharding
from querypose_jax.structures import PeopleBudget
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import make_train_step
from tests.training.fakes import FakeModel, fake_batches, fake_config

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compilations():
    """Durations of the compilations so far."""
    durations = []

    def listen(event: str, duration: float, **more: object) -> None:
        if event == COMPILED:
            durations.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield durations
    jax.monitoring.clear_event_listeners()


def test_no_program_is_compiled_again_once_its_canvas_and_rows_have_been_seen(compilations):
    config = fake_config()
    mesh = sharding.make_mesh(config.mesh)
    optimizer = make_optimizer(config.optimizer, 12)
    graphdef, state = init_state(FakeModel(nnx.Rngs(0)), optimizer)
    step = make_train_step(graphdef, optimizer, learning_rate(config.optimizer, 12), mesh)
    batch = next(fake_batches()(0))
    wide = dataclasses.replace(batch, image=np.zeros((4, 8, 16, 3), np.uint8))
    many = dataclasses.replace(batch, budget=PeopleBudget(1, 16))
    counts = []
    with jax.set_mesh(mesh):
        state = sharding.replicate(state, mesh)
        for one in (batch, wide, many, wide, batch, many, batch):
            before = len(compilations)
            state, metrics = step(state, sharding.put_batch(one, mesh))
            jax.block_until_ready(metrics)
            counts.append(len(compilations) - before)
    assert all(count > 0 for count in counts[:3])
    assert counts[3:] == [0, 0, 0, 0]
