"""The four-phase upsampling is the transposed convolution it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from querypose_jax.layers.upsample import DoubleUpsample, nearest_upsample


def test_nearest_repeats_each_cell_in_a_block():
    x = jnp.array([[1.0, 2], [3, 4]])[None, :, :, None]
    assert nearest_upsample(x, 2)[0, :, :, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert nearest_upsample(x, 1).tolist() == x.tolist()


def test_equals_the_dilated_convolution_forward_and_backward():
    """Stride 2, padding 1, kernel 4: inputs two apart, padded by 4 - 1 - 1 = 2, kernel turned by 180 degrees."""
    layer = DoubleUpsample(3, jnp.dtype("float32"), nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    weight = jax.random.normal(jax.random.key(1), (2, 10, 12, 3))

    def dilated(x):
        return jax.lax.conv_general_dilated(
            x,
            layer.kernel[...][::-1, ::-1],
            window_strides=(1, 1),
            padding=((2, 2), (2, 2)),
            lhs_dilation=(2, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    @jax.jit
    def outputs_and_gradients(x):
        (ours, backward), (theirs, dilated_backward) = jax.vjp(layer.__call__, x), jax.vjp(dilated, x)
        return (ours, theirs), (backward(weight)[0], dilated_backward(weight)[0])

    outputs, gradients = outputs_and_gradients(x)
    assert outputs[0].shape == (2, 10, 12, 3)
    assert np.allclose(*outputs, atol=1e-5)
    assert np.allclose(*gradients, atol=1e-5)


def test_one_bright_pixel_paints_the_kernel_around_it():
    """Input (i, j) reaches output rows 2i - 1 .. 2i + 2 and columns 2j - 1 .. 2j + 2: the kernel itself."""
    layer = DoubleUpsample(1, jnp.dtype("float32"), nnx.Rngs(0))
    out = layer(jnp.zeros((1, 4, 4, 1)).at[0, 1, 2].set(1))[0, :, :, 0]
    assert np.allclose(out[1:5, 3:7], layer.kernel[..., 0, 0], atol=1e-6)
    assert np.count_nonzero(out) == 16
