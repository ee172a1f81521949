"""FLOPs counted in traced programs, against numbers worked out by hand."""

import jax
import jax.numpy as jnp

from querypose_jax.bench.flops import count_flops


def test_a_product_and_a_convolution_by_hand():
    assert count_flops(lambda a, b: a @ b, jnp.ones((3, 5)), jnp.ones((5, 7))) == 2 * 3 * 5 * 7
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert count_flops(convolve, x, kernel) == 2 * (2 * 4 * 4 * 4) * (3 * 3 * 3)


def test_what_is_inside_jit_and_scan_counts_and_a_gradient_is_three_products():
    def product(a, b):
        return (a @ b).sum()

    a, b = jnp.ones((4, 4)), jnp.ones((4, 4))
    assert count_flops(jax.jit(product), a, b) == 2 * 4**3
    assert count_flops(lambda a: jax.lax.scan(lambda c, _: (c @ a, None), a, length=5)[0], a) == 5 * 2 * 4**3
    assert count_flops(jax.grad(product, (0, 1)), a, b) == 2 * 2 * 4**3 + 2 * 4**3
