"""ResNet-50/101 (He et al. 2016) with frozen batch norm; stride 2 sits in the 3x3, as in torchvision."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.frozen import FrozenBatchNorm, freeze_convolutions
from querypose_jax.layers.initialisers import Rngs, he_normal_fan_out
from querypose_jax.layers.remat import run_block

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # per stage
CHANNELS = (256, 512, 1024, 2048)  # of C2..C5


class ConvNorm(nnx.Module):
    """Convolution without bias and frozen batch norm; size kept up to the stride."""

    def __init__(self, fan_in: int, fan_out: int, size: int, stride: int, dtype: jnp.dtype, rngs: Rngs):
        self.conv = Conv(fan_in, fan_out, size, dtype, rngs, init=he_normal_fan_out, stride=stride)
        self.norm = FrozenBatchNorm(fan_out, dtype)

    def __call__(self, x: Float[Array, "B h w _"]) -> Float[Array, "B _ _ _"]:
        return self.norm(self.conv(x))


class Bottleneck(nnx.Module):
    """1x1, 3x3 (with the stride), 1x1, plus the shortcut, which is projected where the shape changes."""

    def __init__(self, fan_in: int, width: int, fan_out: int, stride: int, dtype: jnp.dtype, rngs: Rngs):
        self.conv1 = ConvNorm(fan_in, width, 1, 1, dtype, rngs)
        self.conv2 = ConvNorm(width, width, 3, stride, dtype, rngs)
        self.conv3 = ConvNorm(width, fan_out, 1, 1, dtype, rngs)
        self.shortcut = ConvNorm(fan_in, fan_out, 1, stride, dtype, rngs) if fan_in != fan_out else None

    def __call__(self, x: Float[Array, "B h w _"]) -> Float[Array, "B _ _ _"]:
        y = self.conv3(jax.nn.relu(self.conv2(jax.nn.relu(self.conv1(x)))))
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """Trunk: picture to C2..C5 (strides 4..32). The convolutions of stem and first stage are frozen, as released.

    With `remat` each block is computed again in the backward pass.
    """

    channels = CHANNELS

    def __init__(self, depth: int, remat: bool, dtype: jnp.dtype, rngs: Rngs):
        self.remat = remat
        self.stem = ConvNorm(3, 64, 7, 2, dtype, rngs)
        stages, fan_in = [], 64
        for index, (blocks, fan_out) in enumerate(zip(BLOCKS[depth], CHANNELS, strict=True)):
            stage = []
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                stage.append(Bottleneck(fan_in, fan_out // 4, fan_out, stride, dtype, rngs))
                fan_in = fan_out
            stages.append(nnx.List(stage))
        self.stages = nnx.List(stages)
        freeze_convolutions(self.stem)
        freeze_convolutions(self.stages[0])

    def __call__(
        self, x: Float[Array, "B H W 3"], train: bool, key: Array | None = None
    ) -> list[Float[Array, "B _ _ _"]]:
        """The same in training; nothing is drawn, the key is not used."""
        x = jax.nn.relu(self.stem(x))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        maps = []
        for stage in self.stages:
            for block in stage:
                x = run_block(self.remat, block, x)
            maps.append(x)
        return maps
