"""What is degenerate but allowed gives finite gradients, in half precision too."""

import dataclasses

import jax.numpy as jnp
import pytest
from flax import nnx

from querypose_jax.training.step import all_finite
from tests.models.small_model import loss_and_gradients, people_batch, small_model


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pictures_without_people_or_light_between_others_give_finite_gradients(dtype):
    batch = people_batch(people=(2, 0, 1, 0))
    black = dataclasses.replace(batch, image=batch.image.at[:2].set(0))
    total, terms, gradients, statistics = loss_and_gradients(small_model(stages=1, pose_convs=1, dtype=dtype), black)
    assert all_finite((total, terms, gradients, nnx.filter_state(statistics, nnx.BatchStat)))
    assert terms["loss_kps"] != 0


def test_one_number_that_is_not_finite_is_seen():
    assert all_finite({"a": jnp.ones(3), "count": jnp.ones(2, jnp.int32)})
    for value in (jnp.nan, jnp.inf, -jnp.inf):
        assert not all_finite({"a": jnp.ones(3), "b": jnp.array([[0.0, value]])})
