"""Batch norm over packed rows and over whole maps against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.errors import UserError
from querypose_jax.layers.batch_norm import MaskedBatchNorm, PictureBatchNorm

EPSILON = 1e-5
# Rows 0, 2, 3 are people of group 0, rows 1, 5 of group 1, rows 4 and 6 padding with numbers that must not count.
GROUP = np.array([0, 1, 0, 0, 0, 1, 1])
IS_ROW = np.array([True, True, True, True, False, True, False])


def rows():
    x = np.random.default_rng(0).normal(3, 2, (7, 4, 5, 6)).astype(np.float32)
    x[~IS_ROW] = 1e4
    return x


def norm(dtype="float32"):
    made = MaskedBatchNorm(6, jnp.dtype(dtype))
    made.scale[...] = jnp.linspace(0.5, 2, 6)
    made.bias[...] = jnp.linspace(-1, 1, 6)
    made.mean[...] = jnp.full(6, 7.0)
    made.var[...] = jnp.full(6, 3.0)
    return made


def scaled(x, mean, var):
    return (x - mean) / np.sqrt(var + EPSILON) * np.linspace(0.5, 2, 6) + np.linspace(-1, 1, 6)


def test_rows_are_normalised_with_the_statistics_of_their_group():
    x = rows()
    out = np.asarray(norm()(jnp.asarray(x), jnp.asarray(IS_ROW), jnp.asarray(GROUP), 2))
    for group in (0, 1):
        mine = (group == GROUP) & IS_ROW
        people = x[mine].reshape(-1, 6).astype(np.float64)
        assert np.allclose(out[mine], scaled(x[mine], people.mean(0), people.var(0)), atol=1e-4)
    assert np.isfinite(out).all()


def test_running_statistics_move_a_tenth_towards_the_groups_mean_with_unbiased_variance():
    x, layer = rows(), norm()
    layer(jnp.asarray(x), jnp.asarray(IS_ROW), jnp.asarray(GROUP), 2)
    groups = [x[(group == GROUP) & IS_ROW].reshape(-1, 6) for group in (0, 1)]
    mean = np.mean([people.mean(0) for people in groups], 0)
    var = np.mean([people.var(0, ddof=1) for people in groups], 0)
    assert np.allclose(layer.mean[...], 0.9 * 7 + 0.1 * mean, rtol=1e-5)
    assert np.allclose(layer.var[...], 0.9 * 3 + 0.1 * var, rtol=1e-5)


def test_a_group_without_people_does_not_pull_at_the_running_statistics():
    x = jnp.asarray(rows())
    two, three = norm(), norm()
    two(x, jnp.asarray(IS_ROW), jnp.asarray(GROUP), 2)
    three(x, jnp.asarray(IS_ROW), jnp.asarray(GROUP), 3)
    assert np.allclose(two.mean[...], three.mean[...])
    assert np.allclose(two.var[...], three.var[...])


def test_without_a_person_statistics_stay_and_gradients_are_finite():
    graphdef, state = nnx.split(norm())
    nobody = jnp.zeros(7, bool)

    def total(x):
        layer = nnx.merge(graphdef, state, copy=True)
        return layer(x, nobody, jnp.asarray(GROUP), 2).sum(), (layer.mean[...], layer.var[...])

    gradient, (mean, var) = jax.grad(total, has_aux=True)(jnp.asarray(rows()))
    assert np.array_equal(mean, np.full(6, 7))
    assert np.array_equal(var, np.full(6, 3))
    assert np.isfinite(gradient).all()


def test_without_rows_given_the_running_statistics_normalise():
    x = rows()
    layer = norm()
    assert np.allclose(layer(jnp.asarray(x)), scaled(x, 7, 3), rtol=1e-4, atol=1e-4)
    assert np.array_equal(layer.mean[...], np.full(6, 7)), "and stay"


def maps():
    return np.random.default_rng(1).normal(3, 2, (4, 3, 5, 6)).astype(np.float32)


def picture_norm(pictures_per_group):
    made = PictureBatchNorm(6, pictures_per_group, jnp.dtype("float32"))
    nnx.update(made, nnx.state(norm()))
    return made


def test_pictures_are_normalised_with_the_statistics_of_their_group():
    x = maps()
    out = np.asarray(picture_norm(2)(jnp.asarray(x), train=True))
    for pictures in (slice(0, 2), slice(2, 4)):
        cells = x[pictures].reshape(-1, 6).astype(np.float64)
        assert np.allclose(out[pictures], scaled(x[pictures], cells.mean(0), cells.var(0)), atol=1e-4)


def test_running_statistics_of_pictures_take_the_unbiased_variance():
    x, layer = maps(), picture_norm(2)
    layer(jnp.asarray(x), train=True)
    groups = x.reshape(2, -1, 6).astype(np.float64)
    assert np.allclose(layer.mean[...], 0.9 * 7 + 0.1 * groups.mean((0, 1)), rtol=1e-5)
    assert np.allclose(layer.var[...], 0.9 * 3 + 0.1 * groups.var(1, ddof=1).mean(0), rtol=1e-5)


def test_a_group_of_all_pictures_is_that_of_zero_and_evaluation_reads_the_running_statistics():
    x = jnp.asarray(maps())
    assert np.array_equal(picture_norm(0)(x, train=True), picture_norm(4)(x, train=True))
    assert np.array_equal(picture_norm(0)(x, train=True), picture_norm(8)(x, train=True)), "more than there are"
    layer = picture_norm(2)
    assert np.allclose(layer(x, train=False), scaled(maps(), 7, 3), rtol=1e-4, atol=1e-4)
    assert np.array_equal(layer.mean[...], np.full(6, 7)), "and stay"


def test_a_batch_that_does_not_split_into_groups_is_named():
    with pytest.raises(UserError, match="train.pictures_per_group=3 does not divide a batch of 4 pictures"):
        picture_norm(3)(jnp.asarray(maps()), train=True)
