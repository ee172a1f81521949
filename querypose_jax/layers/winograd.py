"""3x3 convolution with 16 instead of 36 products per 2x2 outputs: Winograd's F(2x2, 3x3) (Lavin and Gray 2016).

Tiles of 4x4 inputs are transformed by sums, multiplied by the transformed kernel channel by channel (16 matrix
products over all tiles), and transformed back by sums to 2x2 outputs. On CPUs, where products are the bottleneck, this
beats XLA's convolution where channels are many, and its gradient towards the kernel everywhere. Accelerators have units
for the plain convolution, and narrow types would lose the bits that the sums need.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

KERNEL_TRANSFORM = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))  # G of the paper


def winograd(x: Float[Array, "R h w C"], kernel: Float[Array, "3 3 C _"]) -> Float[Array, "R h w _"]:
    """Stride 1, zero padding, no bias, for even h and w."""
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
