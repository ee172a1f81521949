"""Stochastic depth: whole pictures, the right share of them, the mean kept."""

import jax
import jax.numpy as jnp
import numpy as np

from querypose_jax.layers.drop_path import drop_path

X = jnp.ones((2000, 2, 3, 4))


def test_a_picture_is_dropped_as_a_whole_or_scaled():
    """2000 draws of rate 0.25: the share of dropped ones has a deviation of 0.01."""
    out = np.asarray(drop_path(X, 0.25, jax.random.key(0)))
    per_picture = out.reshape(2000, -1)
    assert np.array_equal(per_picture.min(1), per_picture.max(1))
    assert np.allclose(np.unique(out), [0, 4 / 3])
    assert abs((per_picture[:, 0] == 0).mean() - 0.25) < 0.04


def test_the_same_key_drops_the_same_pictures_and_another_one_others():
    first = drop_path(X, 0.5, jax.random.key(1))
    assert np.array_equal(first, drop_path(X, 0.5, jax.random.key(1)))
    assert not np.array_equal(first, drop_path(X, 0.5, jax.random.key(2)))


def test_without_a_key_or_a_rate_nothing_is_dropped():
    assert drop_path(X, 0.5, None) is X
    assert drop_path(X, 0.0, jax.random.key(0)) is X
