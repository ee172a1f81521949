"""A small trunk that trains from scratch in minutes: for tests, demos and laptops."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.initialisers import Rngs, he_normal
from querypose_jax.layers.linear import NORM_EPSILON, at_least_float32

STEM = 24
CHANNELS = (48, 96, 128, 192)  # of C2..C5


def batch_norm(channels: int, dtype: jnp.dtype, rngs: Rngs) -> nnx.BatchNorm:
    """Trainable batch norm over the whole batch, its running statistics as wide as its parameters.

    Flax starts them in float32 whatever the parameters are; a float64 model would then round what it measures.
    """
    wide = at_least_float32(dtype)
    norm = nnx.BatchNorm(channels, momentum=0.9, epsilon=NORM_EPSILON, dtype=dtype, param_dtype=wide, rngs=rngs)
    for statistic in (norm.mean, norm.var):
        statistic.set_value(statistic.get_value().astype(wide))
    return norm


class ConvBatchNorm(nnx.Module):
    """3x3 or 1x1 convolution without bias and trainable batch norm over the whole batch."""

    def __init__(self, fan_in: int, fan_out: int, size: int, stride: int, dtype: jnp.dtype, rngs: Rngs):
        self.conv = Conv(fan_in, fan_out, size, dtype, rngs, init=he_normal, stride=stride)
        self.norm = batch_norm(fan_out, dtype, rngs)

    def __call__(self, x: Float[Array, "B h w _"], train: bool) -> Float[Array, "B _ _ _"]:
        return self.norm(self.conv(x), use_running_average=not train)


class Stem(nnx.Module):
    """3x3 convolution of stride 2 on a picture, batch norm.

    Written as a product with 27-number patches: XLA's CPU convolution takes seven times as long on three channels.
    """

    def __init__(self, fan_out: int, dtype: jnp.dtype, rngs: Rngs):
        self.dtype = dtype
        self.kernel = nnx.Param(he_normal(rngs.params(), (27, fan_out), at_least_float32(dtype)))
        self.norm = batch_norm(fan_out, dtype, rngs)

    def __call__(self, x: Float[Array, "B H W 3"], train: bool) -> Float[Array, "B H//2 W//2 C"]:
        height, width = x.shape[1:3]
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        taps = [padded[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
        patches = jnp.concatenate(taps, -1)
        return self.norm(patches @ self.kernel[...].astype(self.dtype), use_running_average=not train)


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions, the first with stride 2, plus a projected shortcut."""

    def __init__(self, fan_in: int, fan_out: int, dtype: jnp.dtype, rngs: Rngs):
        self.conv1 = ConvBatchNorm(fan_in, fan_out, 3, 2, dtype, rngs)
        self.conv2 = ConvBatchNorm(fan_out, fan_out, 3, 1, dtype, rngs)
        self.shortcut = ConvBatchNorm(fan_in, fan_out, 1, 2, dtype, rngs)

    def __call__(self, x: Float[Array, "B h w _"], train: bool) -> Float[Array, "B _ _ _"]:
        y = self.conv2(jax.nn.relu(self.conv1(x, train)), train)
        return jax.nn.relu(y + self.shortcut(x, train))


class SmallTrunk(nnx.Module):
    """Stem of stride 2 and four blocks of stride 2: C2..C5 with strides 4..32, 1.2 M parameters with its pyramid."""

    channels = CHANNELS

    def __init__(self, dtype: jnp.dtype, rngs: Rngs):
        self.stem = Stem(STEM, dtype, rngs)
        fans = zip((STEM, *CHANNELS[:-1]), CHANNELS, strict=True)
        self.blocks = nnx.List([BasicBlock(fan_in, fan_out, dtype, rngs) for fan_in, fan_out in fans])

    def __call__(
        self, x: Float[Array, "B H W 3"], train: bool, key: Array | None = None
    ) -> list[Float[Array, "B _ _ _"]]:
        """Nothing is drawn: the key is not used."""
        x = jax.nn.relu(self.stem(x, train))
        maps = []
        for block in self.blocks:
            x = block(x, train)
            maps.append(x)
        return maps
