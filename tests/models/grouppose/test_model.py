"""The whole Group Pose on pictures: what its outputs are, what its losses depend on, precision."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.models.grouppose.criterion import grouppose_loss
from tests.models.grouppose.small_model import people_batch, small_config, small_model, with_moving_heads
from tests.parity.deformable_goldens import compiled_once

BATCH = jax.tree.map(jnp.asarray, people_batch())


@functools.cache
def split_model(faithful: bool):
    """Structure, parameters and the rest of a small model."""
    config = small_config(faithful_aux=faithful)
    return nnx.split(with_moving_heads(small_model(config)), nnx.Param, ...)


@functools.cache
def outputs(faithful: bool = True):
    """Of the small model on BATCH, and its losses."""
    graphdef, params, rest = split_model(faithful)

    @compiled_once
    def run(params):
        model = nnx.merge(graphdef, params, rest, copy=True)
        found = model(BATCH, train=True)
        return found, model.loss(found, BATCH)[1]

    return run(params)


def test_the_last_prediction_is_the_last_reference():
    found, _ = outputs()
    assert np.allclose(found.points[-2], found.references[-1][:, :, 1:], atol=1e-6)
    assert np.allclose(found.references[-1][:, :, 0], found.points[-2].mean(2), atol=1e-6)


def test_first_references_are_what_the_encoder_proposes():
    found, _ = outputs()
    assert np.allclose(found.references[0][:, :, 1:], found.points[-1], atol=1e-6)


@pytest.mark.slow
def test_faithful_auxiliary_outputs_change_losses_of_earlier_layers_only():
    (faithful, terms), (clean, clean_terms) = outputs(), outputs(faithful=False)
    assert np.allclose(faithful.points[-2], clean.points[-2], atol=1e-6)
    assert np.allclose(faithful.logits[0], clean.logits[0], atol=1e-6), "instance queries have no position"
    assert not np.allclose(faithful.points[0], clean.points[0], atol=1e-3)
    changed = {name for name in terms if not np.isclose(terms[name], clean_terms[name], rtol=1e-5)}
    assert changed == {"loss_keypoints_0", "loss_oks_0"}


@pytest.mark.slow
def test_remat_changes_no_gradient():
    """In float64: among the gradients are some that are nothing but rounding."""

    def gradients(remat):
        graphdef, params, rest = nnx.split(
            with_moving_heads(small_model(small_config(dtype="float64", remat=remat))), nnx.Param, ...
        )

        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            return model.loss(model(BATCH, train=True), BATCH)[0]

        return jax.jit(jax.value_and_grad(loss))(params)

    with jax.enable_x64(True):
        (total, plain), (again, rematerialised) = gradients(False), gradients(True)
    assert np.isclose(total, again, rtol=1e-13)
    largest = max(np.abs(a).max() for a in jax.tree.leaves(plain))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(rematerialised), strict=True):
        assert a.dtype == np.float64 and np.allclose(a, b, rtol=0, atol=1e-13 * largest)


def test_losses_have_their_released_names():
    names = [name + suffix for name in ("loss_ce", "loss_keypoints", "loss_oks") for suffix in ("_0", "", "_interm")]
    assert sorted(outputs()[1]) == sorted(names)


@functools.partial(jax.jit, static_argnames="solver")
def loss(found, batch, solver="callback"):
    """Total and terms."""
    config = small_config()
    return grouppose_loss(found, batch, config.model.loss, (0.05,) * 17, solver)


def test_padding_people_change_no_loss():
    found, _ = outputs()
    pad = lambda x: jnp.pad(x, ((0, 0), (0, 2), *[(0, 0)] * (x.ndim - 2)))
    fields = {name: pad(getattr(BATCH, name)) for name in ("boxes", "keypoints", "area", "label", "is_person")}
    assert np.isclose(loss(found, BATCH)[0], loss(found, dataclasses.replace(BATCH, **fields))[0], rtol=1e-6)


def test_both_solvers_give_the_same_loss():
    found, _ = outputs()
    assert np.isclose(loss(found, BATCH)[0], loss(found, BATCH, "device")[0], rtol=1e-6)


def test_pictures_without_people_teach_the_classes_alone():
    found, _ = outputs()
    nobody = dataclasses.replace(
        BATCH, is_person=jnp.zeros_like(BATCH.is_person), keypoints=0 * BATCH.keypoints, area=0 * BATCH.area
    )
    total, gradients = jax.value_and_grad(lambda points: loss(dataclasses.replace(found, points=points), nobody)[0])(
        found.points
    )
    assert np.isfinite(total)
    assert total > 0
    assert not gradients.any()


def test_all_outputs_are_matched_in_one_call_of_the_host():
    program = str(jax.make_jaxpr(lambda found: loss(found, BATCH)[0])(outputs()[0]))
    assert program.count("pure_callback[") == 1


def test_of_two_classes_each_has_a_column_of_its_own():
    """A query that is sure of class 1 costs the least where its person is of class 1, and column 0 never pays."""
    found, _ = outputs()
    sure = jnp.full((*found.logits.shape[:-1], 3), -5.0)
    values = {}
    for column in range(3):
        logits = sure.at[..., column].set(5.0)
        batch = dataclasses.replace(BATCH, label=jnp.ones_like(BATCH.label))
        values[column] = loss(dataclasses.replace(found, logits=logits), batch)[1]["loss_ce"]
    assert values[2] < values[1]
    assert np.isclose(values[0], values[1], rtol=1e-6)


@pytest.mark.slow
def test_joints_of_a_bfloat16_model_stay_near_those_of_float32():
    """On a canvas of 1333 columns, random weights. Tokens may change places; joints are compared token by token."""
    batch = people_batch(people=(1,), size=(64, 1333))
    batch = jax.tree.map(jnp.asarray, batch)
    maps = [
        jax.random.normal(jax.random.key(level), (1, -(-64 // 2**level), -(-1333 // 2**level), channels))
        for level, channels in ((3, 96), (4, 128), (5, 192))
    ]
    found = {}
    for dtype in ("float32", "bfloat16"):
        model = with_moving_heads(small_model(small_config(dtype=dtype, decoder_layers=1)))
        graphdef, state = nnx.split(model)
        run = jax.jit(
            lambda state, maps, g=graphdef: nnx.merge(g, state).decode_queries(*nnx.merge(g, state).encode(maps, batch))
        )
        result = run(state, [x.astype(dtype) for x in maps])
        assert result.points.dtype == result.logits.dtype == jnp.float32
        found[dtype] = dict(zip(result.token[0].tolist(), np.asarray(result.points[-2, 0]) * (1333, 64), strict=True))
    common = found["float32"].keys() & found["bfloat16"].keys()
    assert len(common) >= 4, "of 6 tokens"
    moved = np.array([np.abs(found["float32"][token] - found["bfloat16"][token]).max() for token in common])
    assert moved.max() < 4  # pixels; one coordinate near 1333 in bfloat16 would be off by up to 4 already
