"""3x3 convolution with 16 instead of 36 products per 2x2 outputs: Winograd's F(2x2, 3x3) (Lavin and Gray 2016).

Tiles of 4x4 inputs are transformed by sums, multiplied by the transformed kernel channel by channel (16 matrix
products over all tiles), and transformed back by sums to 2x2 outputs. On CPUs, where products are the bottleneck, this
beats XLA's convolution where channels are many, and its gradient towards the kernel everywhere. Accelerators have units
for the plain convolution, and narrow types would lose the bits that the sums need.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TURNED = (3, 1, 2, 0)  # where the transform of a kernel turned by 180 degrees finds its rows and columns


def winograd(x: Float[Array, "R h w C"], kernel: Float[Array, "3 3 C _"]) -> Float[Array, "R h w _"]:
    """Stride 1, zero padding, no bias, for even h and w."""
    kernels = of_kernel(kernel)
    return over_tiles(x, lambda part, a, b: part @ kernels[a][b])


def winograd_map_gradient(dy: Float[Array, "R h w D"], kernel: Float[Array, "3 3 _ D"]) -> Float[Array, "R h w _"]:
    """The gradient of `x`: convolution with the kernel turned, from outputs to inputs. Turning and transposing happen
    after the transform, where they cost nothing."""
    kernels = of_kernel(kernel)
    return over_tiles(dy, lambda part, a, b: product_over_last(part, kernels[TURNED[a]][TURNED[b]]))


def over_tiles(x: Float[Array, "R h w _"], multiply: Callable[[Array, int, int], Array]) -> Float[Array, "R h w _"]:
    """The transform of the tiles [R h/2 w/2, channels], `multiply` of each of their 4 x 4 parts, and back."""
    rows, height, width, channels = x.shape
    tiles = rows, height // 2, width // 2
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    by_row = to_tiles([padded[:, i : i + height : 2] for i in range(4)])
    parts = [to_tiles([row[:, :, j : j + width : 2] for j in range(4)]) for row in by_row]  # 4 x 4 of [R, h/2, w/2, C]
    products = [[multiply(parts[a][b].reshape(-1, channels), a, b) for b in range(4)] for a in range(4)]
    columns = [from_tiles(row) for row in products]  # 4 x 2
    phases = [from_tiles([columns[a][q] for a in range(4)]) for q in range(2)]  # column phase q, row phase p
    grid = jnp.stack([jnp.stack([phases[q][p].reshape(*tiles, -1) for q in range(2)], 3) for p in range(2)], 2)
    return grid.reshape(rows, height, width, -1)


def of_kernel(kernel: Float[Array, "3 3 C D"]) -> list[list[Float[Array, "C D"]]]:
    """The kernel's transform, 4 x 4 (G g G^T of the paper), by sums: as products with a matrix of 4 x 3 it takes a CPU
    longer than everything else."""
    by_row = [kernel_line([kernel[i, j] for i in range(3)]) for j in range(3)]
    return [kernel_line([by_row[j][a] for j in range(3)]) for a in range(4)]


def kernel_line(g: list[Array]) -> list[Array]:
    """The kernel's transform along one direction (G of the paper)."""
    outer, middle = (g[0] + g[2]) / 2, g[1] / 2
    return [g[0], outer + middle, outer - middle, g[2]]


def product_over_last(a: Float[Array, "N D"], b: Float[Array, "C D"]) -> Float[Array, "N C"]:
    """a b^T without a transposed copy of b."""
    return jax.lax.dot_general(a, b, (((1,), (1,)), ((), ())))


def to_tiles(d: list[Array]) -> list[Array]:
    """The input transform along one direction (B of the paper)."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def from_tiles(m: list[Array]) -> list[Array]:
    """The output transform along one direction (A of the paper)."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
