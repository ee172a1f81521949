"""The convolution of maps: the same numbers and gradients as XLA's, by other operations on CPUs only."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.layers.convolution import Conv, convolve, direct, kernel_gradient

ONE, NONE = ((1, 1), (1, 1)), ((0, 0), (0, 0))
CASES = {  # picture, kernel, stride, padding
    "3x3, even map": ((2, 8, 6, 5), (3, 3, 5, 4), 1, ONE),
    "3x3, odd map": ((2, 7, 6, 5), (3, 3, 5, 4), 1, ONE),
    "3x3, stride 2": ((2, 8, 7, 5), (3, 3, 5, 4), 2, ONE),
    "1x1": ((2, 8, 7, 5), (1, 1, 5, 4), 1, NONE),
    "1x1, stride 2": ((2, 8, 7, 5), (1, 1, 5, 4), 2, NONE),
    "7x7, stride 2": ((1, 16, 14, 3), (7, 7, 3, 4), 2, ((3, 3), (3, 3))),
    "4x4 patches": ((1, 16, 12, 3), (4, 4, 3, 6), 4, NONE),
    "2x2, zeros on one side": ((2, 7, 7, 5), (2, 2, 5, 4), 1, ((1, 0), (0, 1))),
    "many channels": ((1, 6, 4, 128), (3, 3, 128, 128), 1, ONE),
    "very many channels": ((1, 6, 4, 256), (3, 3, 256, 288), 1, ONE),
}


def operands(size, kernel, dtype=jnp.float64):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal(size), dtype), jnp.asarray(rng.standard_normal(kernel), dtype)


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_both_gradients_equal_those_of_xla_in_float64(case):
    size, kernel_size, stride, padding = CASES[case]
    with jax.enable_x64(True):
        x, kernel = operands(size, kernel_size)

        def outputs_and_gradients(convolution):
            y = convolution(x, kernel, stride, padding)
            loss = lambda x, kernel: jnp.sin(convolution(x, kernel, stride, padding)).sum()
            return y, *jax.grad(loss, (0, 1))(x, kernel)

        for ours, plain in zip(outputs_and_gradients(convolve), outputs_and_gradients(direct), strict=True):
            assert np.allclose(ours, plain, rtol=0, atol=1e-11 * np.abs(plain).max())


def test_bfloat16_takes_the_plain_convolution_in_both_directions():
    x, kernel = operands((2, 8, 8, 16), (3, 3, 16, 8), jnp.bfloat16)

    def gradients(convolution):
        return jax.grad(lambda x, kernel: convolution(x, kernel, 1, ONE).sum(), (0, 1))(x, kernel)

    ours, plain = gradients(convolve), gradients(direct)
    for a, b in zip(ours, plain, strict=True):
        assert a.dtype == jnp.bfloat16 and (a == b).all()


def convolutions(function, platform, *arguments):
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    return text.count("stablehlo.convolution")


@pytest.mark.parametrize(("platform", "count"), [("cpu", 1), ("cuda", 2), ("tpu", 2)])
def test_only_cpus_take_products_for_the_gradient_of_a_kernel(platform, count):
    x, kernel = operands((2, 8, 8, 16), (3, 3, 16, 8), jnp.float32)
    _, pullback = jax.vjp(lambda x, kernel: convolve(x, kernel, 2, ONE), x, kernel)
    assert convolutions(pullback, platform, jnp.ones((2, 4, 4, 8))) == count


@pytest.mark.parametrize(("platform", "count"), [("cpu", 0), ("cuda", 1), ("tpu", 1)])
def test_only_cpus_take_winograds_form_for_many_channels(platform, count):
    x, kernel = operands((1, 4, 4, 256), (3, 3, 256, 256), jnp.float32)
    assert convolutions(lambda x, kernel: convolve(x, kernel, 1, ONE), platform, x, kernel) == count
    _, pullback = jax.vjp(lambda x, kernel: convolve(x, kernel, 1, ONE), x, kernel)
    assert convolutions(pullback, platform, jnp.ones((1, 4, 4, 256))) == 2 * count


def test_a_kernel_gradient_sums_over_one_axis_of_cells():
    """Over three axes XLA copies the map transposed first, which takes as long as the product."""
    x, _ = operands((2, 8, 8, 16), (1,), jnp.float32)
    text = jax.jit(lambda x, dy: kernel_gradient(x, dy, 1, 1, NONE)).lower(x, jnp.ones((2, 8, 8, 4))).as_text()
    assert "contracting_dims = [0] x [0]" in text


def test_a_gradient_that_nobody_reads_is_not_computed():
    x, kernel = operands((2, 8, 8, 16), (3, 3, 16, 8), jnp.float32)
    of_map = jax.grad(lambda x: convolve(x, kernel, 2, ONE).sum())
    assert "dot_general" not in jax.jit(of_map).lower(x).as_text()


def test_the_layer_adds_its_bias_and_has_the_names_of_a_convolution():
    make = functools.partial(Conv, 6, 4, 3, jnp.dtype("float32"), nnx.Rngs(0), init=nnx.initializers.normal())
    layer = make(bias_init=nnx.initializers.ones)
    x, _ = operands((1, 4, 4, 6), (1,), jnp.float32)
    assert np.allclose(layer(x), direct(x, layer.kernel[...], 1, ONE) + 1, atol=1e-5)
    assert {path[0] for path, _ in nnx.to_flat_state(nnx.state(layer))} == {"kernel", "bias"}
    without = make(stride=2, padding=0)
    assert without(x).shape == (1, 1, 1, 4)
    assert {path[0] for path, _ in nnx.to_flat_state(nnx.state(without))} == {"kernel"}
