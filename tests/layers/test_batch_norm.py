"""Batch norm over packed rows against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from querypose_jax.layers.batch_norm import MaskedBatchNorm

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
