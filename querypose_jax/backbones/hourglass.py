"""Stacked hourglass of residual blocks (Newell et al. 2016, as in CornerNet and CenterNet; "Hourglass-104" at depth 5).

Every hourglass halves the map `depth` times by strides, and adds what comes back at each resolution to what has stayed
there. Everything trains, batch norm included.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from querypose_jax.layers.batch_norm import PictureBatchNorm
from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.initialisers import Rngs, normal
from querypose_jax.layers.remat import run_block
from querypose_jax.layers.upsample import nearest_upsample

STRIDE = 4  # pixels per cell of the maps that come out
DEVIATION = 0.001  # of random convolutions, as released; a batch norm follows each of them, so it sets the first steps

Map = Float[Array, "B _ _ _"]


class ConvNorm(nnx.Module):
    """Convolution without bias and batch norm."""

    def __init__(
        self, fan_in: int, fan_out: int, size: int, stride: int, pictures_per_group: int, dtype: jnp.dtype, rngs: Rngs
    ):
        self.conv = Conv(fan_in, fan_out, size, dtype, rngs, init=normal(DEVIATION), stride=stride)
        self.norm = PictureBatchNorm(fan_out, pictures_per_group, dtype)

    def __call__(self, x: Map, train: bool) -> Map:
        return self.norm(self.conv(x), train)


MakeConvNorm = Callable[[int, int, int, int], ConvNorm]  # from fan_in, fan_out, size, stride


class Residual(nnx.Module):
    """Two 3x3 convolutions plus the shortcut, which is projected where width or resolution change."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, make: MakeConvNorm):
        self.conv1 = make(fan_in, fan_out, 3, stride)
        self.conv2 = make(fan_out, fan_out, 3, 1)
        self.shortcut = make(fan_in, fan_out, 1, stride) if stride != 1 or fan_in != fan_out else None

    def __call__(self, x: Map, train: bool) -> Map:
        y = self.conv2(jax.nn.relu(self.conv1(x, train)), train)
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x, train)))


class Chain(nnx.Module):
    """Residual blocks one after the other; the first has the stride."""

    def __init__(self, widths: Sequence[int], stride: int, make: MakeConvNorm):
        """`widths`: channels before the first block, and after each."""
        strides = [stride] + [1] * (len(widths) - 2)
        self.blocks = nnx.List(
            [Residual(*fans, stride, make) for *fans, stride in zip(widths[:-1], widths[1:], strides, strict=True)]
        )

    def __call__(self, x: Map, train: bool) -> Map:
        for block in self.blocks:
            x = block(x, train)
        return x


class Hourglass(nnx.Module):
    """One level: blocks at this resolution, plus, enlarged again, what a smaller hourglass makes of half of it."""

    def __init__(self, depth: int, dims: Sequence[int], mods: Sequence[int], make: MakeConvNorm):
        """
        Args:
            depth: levels.
            dims: channels of this level, of the next one, ...; depth + 1 numbers.
            mods: residual blocks per level, the last number those of the innermost map; depth + 1 numbers.
            make: builds a convolution with its norm.
        """
        outer, inner, *_ = dims
        count = mods[0]
        self.up1 = Chain([outer] * (count + 1), 1, make)
        self.low1 = Chain([outer] + [inner] * count, 2, make)
        if depth > 1:
            self.low2: Hourglass | Chain = Hourglass(depth - 1, dims[1:], mods[1:], make)
        else:
            self.low2 = Chain([inner] * (mods[1] + 1), 1, make)
        self.low3 = Chain([inner] * count + [outer], 1, make)

    def __call__(self, x: Map, train: bool) -> Map:
        low = self.low3(self.low2(self.low1(x, train), train), train)
        return self.up1(x, train) + nearest_upsample(low, 2)


class StackedHourglass(nnx.Module):
    """Picture to one map of features per stack, all at stride 4. Sides must be multiples of `step(config)` pixels."""

    def __init__(self, config: ConfigDict, dtype: jnp.dtype, rngs: Rngs, pictures_per_group: int = 0):
        """
        Args:
            config: depth, dims, mods (see `Hourglass`), stem_dim, feature_dim, stacks, remat.
            dtype: of the computation.
            rngs: keys of the initial values.
            pictures_per_group: neighbouring pictures that share batch-norm statistics; 0 = the whole batch.
        """
        make = functools.partial(ConvNorm, pictures_per_group=pictures_per_group, dtype=dtype, rngs=rngs)
        width, features, stacks = config.dims[0], config.feature_dim, config.stacks
        self.remat = config.remat
        self.stem = make(3, config.stem_dim, 7, 2)
        self.stem_block = Residual(config.stem_dim, width, 2, make)
        self.hourglasses = nnx.List(
            [Hourglass(config.depth, tuple(config.dims), tuple(config.mods), make) for _ in range(stacks)]
        )
        self.features = nnx.List([make(width, features, 3, 1) for _ in range(stacks)])
        # From a stack to the next: its input and its features, added, through a block.
        self.from_input = nnx.List([make(width, width, 1, 1) for _ in range(stacks - 1)])
        self.from_features = nnx.List([make(features, width, 1, 1) for _ in range(stacks - 1)])
        self.links = nnx.List([Residual(width, width, 1, make) for _ in range(stacks - 1)])

    def __call__(self, x: Float[Array, "B H W 3"], train: bool = False) -> list[Float[Array, "B _ _ C"]]:
        """Features of every stack, [B, H/4, W/4, feature_dim]."""
        x = jax.nn.relu(self.stem(x, train))
        x = self.stem_block(x, train)
        features = []
        for stack, (hourglass, to_features) in enumerate(zip(self.hourglasses, self.features, strict=True)):
            y = jax.nn.relu(to_features(run_block(self.remat, hourglass, x, train), train))
            features.append(y)
            if stack < len(self.links):
                joined = self.from_input[stack](x, train) + self.from_features[stack](y, train)
                x = self.links[stack](jax.nn.relu(joined), train)
        return features


def step(config: ConfigDict) -> int:
    """Pixels of which the sides of a picture must be multiples: 4 x 2^depth, 128 for Hourglass-104."""
    return STRIDE << config.depth
