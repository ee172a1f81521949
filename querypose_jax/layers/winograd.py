"""3x3 convolution with 16 instead of 36 products per 2x2 outputs: Winograd's F(2x2, 3x3) (Lavin and Gray 2016).

Tiles of 4x4 inputs are transformed by sums, multiplied by the transformed kernel channel by channel (16 matrix
products over all tiles), and transformed back by sums to 2x2 outputs. On CPUs, where products are the bottleneck, this
takes three quarters of the time of XLA's convolution, and with gradients six tenths. Accelerators have units for the
plain convolution, and narrow types would lose the bits that the sums need.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs, xavier_uniform
from querypose_jax.layers.linear import at_least_float32

KERNEL_TRANSFORM = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))  # G of the paper


class Conv3x3(nnx.Module):
    """3x3 convolution with bias, size kept, Xavier-uniform kernel."""

    def __init__(self, fan_in: int, fan_out: int, dtype: jnp.dtype, rngs: Rngs):
        self.dtype = dtype
        self.kernel = nnx.Param(xavier_uniform(rngs.params(), (3, 3, fan_in, fan_out), at_least_float32(dtype)))
        self.bias = nnx.Param(jnp.zeros(fan_out, at_least_float32(dtype)))

    def __call__(self, x: Float[Array, "R h w C"]) -> Float[Array, "R h w _"]:
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return convolve3x3(x, kernel) + bias


def convolve3x3(x: Float[Array, "R h w C"], kernel: Float[Array, "3 3 C _"]) -> Float[Array, "R h w _"]:
    """Stride 1, zero padding, no bias; the same to rounding on every platform."""
    height, width = x.shape[1:3]
    if height % 2 or width % 2 or x.dtype.itemsize < 4:
        return direct(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=winograd, default=direct)


def direct(x: Float[Array, "R h w C"], kernel: Float[Array, "3 3 C _"]) -> Float[Array, "R h w _"]:
    """XLA's convolution."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def winograd(x: Float[Array, "R h w C"], kernel: Float[Array, "3 3 C _"]) -> Float[Array, "R h w _"]:
    """For even h and w."""
    rows, height, width, channels = x.shape
    tiles = rows, height // 2, width // 2
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    by_row = to_tiles([padded[:, i : i + height : 2] for i in range(4)])
    parts = [to_tiles([row[:, :, j : j + width : 2] for j in range(4)]) for row in by_row]  # 4 x 4 of [R, h/2, w/2, C]
    transform = jnp.array(KERNEL_TRANSFORM, x.dtype)
    kernels = jnp.einsum("ai,bj,ijcd->abcd", transform, transform, kernel, precision="highest")
    products = [[parts[a][b].reshape(-1, channels) @ kernels[a, b] for b in range(4)] for a in range(4)]
    columns = [from_tiles(row) for row in products]  # 4 x 2
    phases = [from_tiles([columns[a][q] for a in range(4)]) for q in range(2)]  # column phase q, row phase p
    grid = jnp.stack([jnp.stack([phases[q][p].reshape(*tiles, -1) for q in range(2)], 3) for p in range(2)], 2)
    return grid.reshape(rows, height, width, -1)


def to_tiles(d: list[Array]) -> list[Array]:
    """The input transform along one direction (B of the paper)."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def from_tiles(m: list[Array]) -> list[Array]:
    """The output transform along one direction (A of the paper)."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
