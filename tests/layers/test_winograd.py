"""Winograd's convolution against the plain one, forward and backward; and where it is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.layers.winograd import Conv3x3, convolve3x3, direct, winograd


def operands(dtype, size=(3, 14, 10, 24), out=16):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal(size), dtype), jnp.asarray(rng.standard_normal((3, 3, size[-1], out)), dtype)


def test_equal_in_float64_to_the_last_digits_and_so_are_the_gradients():
    with jax.enable_x64(True):
        x, kernel = operands(jnp.float64)
        assert np.allclose(winograd(x, kernel), direct(x, kernel), rtol=0, atol=1e-12)

        def gradients(convolve):
            return jax.grad(lambda x, kernel: jnp.sin(convolve(x, kernel)).sum(), (0, 1))(x, kernel)

        for ours, plain in zip(gradients(winograd), gradients(direct), strict=True):
            assert np.allclose(ours, plain, rtol=0, atol=1e-11)


def test_float32_loses_no_more_than_a_few_bits_of_the_largest_value():
    x, kernel = operands(jnp.float32, (2, 14, 14, 256), 64)
    error = jnp.abs(winograd(x, kernel) - direct(x, kernel)).max() / jnp.abs(direct(x, kernel)).max()
    assert error < 3e-6


@pytest.mark.parametrize(("size", "dtype"), [((2, 7, 7, 8), jnp.float32), ((2, 8, 8, 8), jnp.bfloat16)])
def test_odd_maps_and_narrow_types_take_the_plain_convolution(size, dtype):
    x, kernel = operands(dtype, size)
    text = jax.jit(convolve3x3).lower(x, kernel).as_text()
    assert "convolution" in text
    assert convolve3x3(x, kernel).shape == (*size[:-1], 16)


@pytest.mark.parametrize(("platform", "convolves"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_only_cpus_take_the_products(platform, convolves):
    traced = jax.jit(convolve3x3).trace(*operands(jnp.float32))
    assert ("stablehlo.convolution" in traced.lower(lowering_platforms=(platform,)).as_text()) == convolves


def test_the_layer_has_the_parameters_of_a_convolution():
    layer = Conv3x3(6, 4, jnp.dtype("float32"), nnx.Rngs(0))
    x, _ = operands(jnp.float32, (1, 4, 4, 6))
    layer.bias[...] = jnp.arange(4.0)
    expected = direct(x, layer.kernel[...]) + jnp.arange(4.0)
    assert np.allclose(layer(x), expected, atol=1e-5)
    assert {path[0] for path, _ in nnx.to_flat_state(nnx.state(layer))} == {"kernel", "bias"}
