"""Winograd's convolution against the plain one, forward and backward."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from querypose_jax.layers.convolution import direct
from querypose_jax.layers.winograd import winograd, winograd_map_gradient

plain = functools.partial(direct, stride=1, padding=((1, 1), (1, 1)))


def operands(dtype, size=(3, 14, 10, 24), out=16):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal(size), dtype), jnp.asarray(rng.standard_normal((3, 3, size[-1], out)), dtype)


def test_equal_in_float64_to_the_last_digits_and_so_are_the_gradients():
    with jax.enable_x64(True):
        x, kernel = operands(jnp.float64)
        assert np.allclose(winograd(x, kernel), plain(x, kernel), rtol=0, atol=1e-12)

        def gradients(convolve):
            return jax.grad(lambda x, kernel: jnp.sin(convolve(x, kernel)).sum(), (0, 1))(x, kernel)

        for ours, xla in zip(gradients(winograd), gradients(plain), strict=True):
            assert np.allclose(ours, xla, rtol=0, atol=1e-11)


def test_the_gradient_of_the_map_equals_that_of_the_plain_convolution():
    with jax.enable_x64(True):
        x, kernel = operands(jnp.float64)
        dy, pullback = jax.vjp(lambda x: plain(x, kernel), x)
        assert np.allclose(winograd_map_gradient(dy, kernel), pullback(dy)[0], rtol=0, atol=1e-11)


def test_float32_loses_no_more_than_a_few_bits_of_the_largest_value():
    x, kernel = operands(jnp.float32, (2, 14, 14, 256), 64)
    error = jnp.abs(winograd(x, kernel) - plain(x, kernel)).max() / jnp.abs(plain(x, kernel)).max()
    assert error < 3e-6
