"""The convolution of all maps, with forms of its own for CPUs.

XLA's CPU convolution is fast forward and towards its input. Towards its kernel it is up to sixteen times slower than a
matrix product of the same size, so there the gradient is written as products; and many channels on even maps take
Winograd's form. Accelerators take XLA's convolution everywhere.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import at_least_float32
from querypose_jax.layers.winograd import winograd, winograd_map_gradient

# Channels from which Winograd's form pays on both sides: with fewer, transforming the tiles costs as much as the
# products saved; in the gradient of the kernel it still saves a third, but makes programs of five times the length.
WINOGRAD_MAP, WINOGRAD_KERNEL = 256, 128

Map = Float[Array, "B _ _ _"]
Kernel = Float[Array, "k k _ _"]
Padding = tuple[tuple[int, int], tuple[int, int]]  # zeros above and below, left and right


class Conv(nnx.Module):
    """Convolution of size x size cells; the map keeps its size up to the stride where `padding` is not given."""

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        size: int,
        dtype: jnp.dtype,
        rngs: Rngs,
        *,
        init: nnx.Initializer,
        stride: int = 1,
        padding: int | None = None,
        bias_init: nnx.Initializer | None = None,
    ):
        """
        Args:
            fan_in, fan_out: channels.
            size: cells of the kernel along each direction.
            dtype: of the computation.
            rngs: keys of the initial values.
            init: of the kernel [size, size, fan_in, fan_out].
            stride: cells between outputs.
            padding: cells of zeros on each side; None = size // 2.
            bias_init: of the bias [fan_out]; None = it has no bias.
        """
        wide = at_least_float32(dtype)
        self.dtype = dtype
        self.stride = stride
        zeros = size // 2 if padding is None else padding
        self.padding = ((zeros, zeros), (zeros, zeros))
        self.kernel = nnx.Param(init(rngs.params(), (size, size, fan_in, fan_out), wide))
        self.bias = nnx.Param(bias_init(rngs.params(), (fan_out,), wide)) if bias_init else None

    def __call__(self, x: Map) -> Map:
        y = convolve(x.astype(self.dtype), self.kernel[...].astype(self.dtype), self.stride, self.padding)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: Map, kernel: Kernel, stride: int, padding: Padding) -> Map:
    """Convolution of zero-padded maps [B, h, w, C] with a kernel [k, k, C, D]; equal to rounding on every platform."""
    plain = functools.partial(direct, stride=stride, padding=padding)
    if suits_winograd(x, kernel, stride, padding, WINOGRAD_MAP):
        return jax.lax.platform_dependent(x, kernel, cpu=winograd, default=plain)
    return plain(x, kernel)


def forward(x: Map, kernel: Kernel, stride: int, padding: Padding) -> tuple[Map, tuple[Map, Kernel]]:
    """Nothing but the operands is kept."""
    return convolve(x, kernel, stride, padding), (x, kernel)


def backward(stride: int, padding: Padding, operands: tuple[Map, Kernel], dy: Map) -> tuple[Map, Kernel]:
    """Gradients of map and kernel; one that nobody reads is never computed."""
    x, kernel = operands
    plain = functools.partial(direct, stride=stride, padding=padding)
    is_wide = x.dtype.itemsize >= 4
    fits = functools.partial(suits_winograd, x, kernel, stride, padding)

    def transposed_map(kernel, dy):
        return jax.linear_transpose(lambda x: plain(x, kernel), x)(dy)[0]

    def winograd_map(kernel, dy):
        return winograd_map_gradient(dy, kernel)

    def transposed_kernel(x, dy):
        return jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(dy)[0]

    def winograd_kernel(x, dy):
        return jax.linear_transpose(lambda kernel: winograd(x, kernel), kernel)(dy)[0]

    def products_kernel(x, dy):
        return kernel_gradient(x, dy, kernel.shape[0], stride, padding)

    map_on_cpu = winograd_map if fits(WINOGRAD_MAP) else transposed_map
    kernel_on_cpu = winograd_kernel if fits(WINOGRAD_KERNEL) else products_kernel if is_wide else transposed_kernel
    dx = jax.lax.platform_dependent(kernel, dy, cpu=map_on_cpu, default=transposed_map)
    return dx, jax.lax.platform_dependent(x, dy, cpu=kernel_on_cpu, default=transposed_kernel)


convolve.defvjp(forward, backward)


def direct(x: Map, kernel: Kernel, stride: int, padding: Padding) -> Map:
    """XLA's convolution."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def suits_winograd(x: Map, kernel: Kernel, stride: int, padding: Padding, channels: int) -> bool:
    """3x3 with stride 1 on even maps that keep their size, of so many channels, in types that do not miss the bits
    that the sums cost."""
    keeps_size = kernel.shape[0] == 3 and stride == 1 and padding == ((1, 1), (1, 1))
    is_even = x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0
    return keeps_size and is_even and min(kernel.shape[2:]) >= channels and x.dtype.itemsize >= 4


def kernel_gradient(x: Map, dy: Map, size: int, stride: int, padding: Padding) -> Kernel:
    """Each of the size x size taps is one product of the cells it read, over all outputs, with their gradients."""
    rows, columns, channels = dy.shape[1:]
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    taps = [
        padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    products = jnp.stack([product_over_first(tap.reshape(-1, x.shape[3]), dy.reshape(-1, channels)) for tap in taps])
    return products.reshape(size, size, *products.shape[1:])


def product_over_first(a: Float[Array, "N C"], b: Float[Array, "N D"]) -> Float[Array, "C D"]:
    """a^T b; with all cells in one axis no transposed copy of `a` is made, which would take as long as the product."""
    return jax.lax.dot_general(a, b, (((0,), (0,)), ((), ())))
