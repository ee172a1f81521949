"""The light version matches all its stages in one call, to the same pairs as stage by stage."""

import jax
import numpy as np
import pytest
from flax import nnx

from querypose_jax.models.querypose.matching import match
from tests.models.small_model import people_batch, small_config, small_model


def forward(**model):
    """A jitted training forward pass, and what it takes."""
    graphdef, state = nnx.split(small_model(**model))

    def call(state, batch):
        return nnx.merge(graphdef, state, copy=True)(batch, train=True)

    return jax.jit(call), state


@pytest.mark.parametrize(("light", "calls"), [(True, 1), pytest.param(False, 2, marks=pytest.mark.slow)])
def test_a_step_asks_the_host_once_in_the_light_version_and_else_once_a_stage(light, calls):
    call, state = forward(light=light, stages=2)
    assert (
        call.lower(state, people_batch()).as_text().count("stablehlo.custom_call @xla_ffi_python_cpu_callback") == calls
    )


@pytest.mark.slow
def test_pairs_of_the_light_version_are_those_of_each_stage_alone():
    call, state = forward(light=True, stages=2)
    batch = people_batch()
    outputs = call(state, batch)
    assert len(outputs.logits) == 2
    for stage, (logits, boxes) in enumerate(zip(outputs.logits, outputs.boxes, strict=True)):
        alone = match(logits, boxes, batch, small_config().model.loss)
        np.testing.assert_array_equal(outputs.matches.query[stage], alone.query)
        np.testing.assert_array_equal(outputs.matches.person[stage], alone.person)
