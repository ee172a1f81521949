"""Swin transformer (Liu et al. 2021) as a trunk: attention inside windows, every other block in shifted ones."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from querypose_jax.backbones.windows import (
    WINDOW,
    join_windows,
    relative_positions,
    shift,
    shift_mask,
    split_windows,
)
from querypose_jax.layers.attention import attend
from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.drop_path import drop_path
from querypose_jax.layers.initialisers import Rngs, normal, pytorch_uniform, uniform_fan_in
from querypose_jax.layers.linear import at_least_float32, layer_norm, linear
from querypose_jax.layers.remat import run_block

PATCH = 4  # pixels per side of a token
MLP_RATIO = 4


class Size(NamedTuple):
    """What tells T, B and L apart."""

    dim: int
    """Channels of C2; each stage doubles them."""
    depths: tuple[int, ...]
    """Blocks per stage."""
    heads: tuple[int, ...]


SIZES = {
    "T": Size(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "B": Size(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "L": Size(192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


def dense(fan_in: int, fan_out: int, dtype: jnp.dtype, rngs: Rngs, *, bias: str = "uniform") -> nnx.Linear:
    """Linear layer with PyTorch's own initial values, as released: the usual truncated normal is never called."""
    return linear(fan_in, fan_out, dtype, rngs, bias=bias, kernel_init=pytorch_uniform)


def pad_to(x: Float[Array, "B h w C"], multiple: int) -> Float[Array, "B _ _ C"]:
    """Zeros at the bottom and at the right, up to multiples of a size."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % multiple), (0, -x.shape[2] % multiple), (0, 0)))


class PatchEmbedding(nnx.Module):
    """4x4 pixels to a token."""

    def __init__(self, dim: int, dtype: jnp.dtype, rngs: Rngs):
        bias_init = uniform_fan_in(3 * PATCH * PATCH)
        self.proj = Conv(3, dim, PATCH, dtype, rngs, init=pytorch_uniform, stride=PATCH, padding=0, bias_init=bias_init)
        self.norm = layer_norm(dim, dtype, rngs)

    def __call__(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B h w C"]:
        return self.norm(self.proj(pad_to(x, PATCH)))


class WindowAttention(nnx.Module):
    """Self-attention inside windows, with a learnt bias for every relative position and head."""

    def __init__(self, dim: int, heads: int, dtype: jnp.dtype, rngs: Rngs, window: int = WINDOW):
        self.heads = heads
        self.window = window
        self.qkv = dense(dim, 3 * dim, dtype, rngs)
        self.proj = dense(dim, dim, dtype, rngs)
        # The released bounds of the truncated normal, +-2, are a hundred deviations away.
        rows = (2 * window - 1) ** 2
        self.bias_table = nnx.Param(normal(0.02)(rngs.params(), (rows, heads), at_least_float32(dtype)))

    def __call__(
        self, windows: Float[Array, "B V T C"], mask: Float[Array, "V 1 T T"] | None
    ) -> Float[Array, "B V T C"]:
        positions = relative_positions(self.window)
        bias = self.bias_table[...][positions.ravel()].T.reshape(self.heads, *positions.shape)
        return self.proj(attend(self.qkv(windows), self.heads, bias if mask is None else bias + mask))


class SwinBlock(nnx.Module):
    """Window attention and MLP, each on a residual branch that drop path may leave out."""

    def __init__(
        self,
        dim: int,
        heads: int,
        is_shifted: bool,
        drop_rate: float,
        dtype: jnp.dtype,
        rngs: Rngs,
        window: int = WINDOW,
    ):
        self.window = window
        self.is_shifted = is_shifted
        self.drop_rate = drop_rate
        self.norm1 = layer_norm(dim, dtype, rngs)
        self.attention = WindowAttention(dim, heads, dtype, rngs, window)
        self.norm2 = layer_norm(dim, dtype, rngs)
        self.expand = dense(dim, MLP_RATIO * dim, dtype, rngs)
        self.contract = dense(MLP_RATIO * dim, dim, dtype, rngs)

    def __call__(
        self, x: Float[Array, "B h w C"], mask: Float[Array, "V 1 T T"], key: Key[Array, ""] | None
    ) -> Float[Array, "B h w C"]:
        """`mask` is that of the padded map; blocks that are not shifted do not read it."""
        first, second = (None, None) if key is None else jax.random.split(key)
        x = x + drop_path(self.attend_windows(self.norm1(x), mask), self.drop_rate, first)
        y = self.contract(jax.nn.gelu(self.expand(self.norm2(x)), approximate=False))
        return x + drop_path(y, self.drop_rate, second)

    def attend_windows(self, x: Float[Array, "B h w C"], mask: Float[Array, "V 1 T T"]) -> Float[Array, "B h w C"]:
        """As released, the tokens that pad the map to whole windows are attended to like any other."""
        height, width = x.shape[1:3]
        x = pad_to(x, self.window)
        padded, moved = x.shape[1:3], shift(self.window)
        if self.is_shifted:
            x = jnp.roll(x, (-moved, -moved), (1, 2))
        windows = self.attention(split_windows(x, self.window), mask if self.is_shifted else None)
        x = join_windows(windows, *padded, self.window)
        if self.is_shifted:
            x = jnp.roll(x, (moved, moved), (1, 2))
        return x[:, :height, :width]


class PatchMerging(nnx.Module):
    """2x2 tokens to one of twice the width; phases in the order (row, column) = 00, 10, 01, 11."""

    def __init__(self, dim: int, dtype: jnp.dtype, rngs: Rngs):
        self.norm = layer_norm(4 * dim, dtype, rngs)
        self.reduction = dense(4 * dim, 2 * dim, dtype, rngs, bias="none")

    def __call__(self, x: Float[Array, "B h w _"]) -> Float[Array, "B _ _ _"]:
        x = pad_to(x, 2)
        phases = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(jnp.concatenate(phases, -1)))


class Swin(nnx.Module):
    """Trunk: picture to C2..C5 (strides 4..32), each stage's tokens before merging, normalised if it is used."""

    def __init__(
        self,
        size: str,
        drop_path: float,
        remat: bool,
        dtype: jnp.dtype,
        rngs: Rngs,
        window: int = WINDOW,
        used: Sequence[int] = (0, 1, 2, 3),
    ):
        """
        Args:
            size: T, B or L.
            drop_path: rate of the last block; it grows linearly from 0 at the first one.
            remat: True computes each block again in the backward pass.
            dtype: of the computation.
            rngs: keys of the initial values.
            window: tokens per side.
            used: stages whose maps somebody reads, 0 = C2: they have a norm of their own.
        """
        dim, depths, heads = SIZES[size]
        self.remat = remat
        self.window = window
        self.used = tuple(used)
        self.dtype = dtype
        self.channels = tuple(dim << stage for stage in range(len(depths)))
        self.patches = PatchEmbedding(dim, dtype, rngs)
        stages, number, last = [], 0, sum(depths) - 1
        for width, depth, count in zip(self.channels, depths, heads, strict=True):
            rates = [drop_path * (number + block) / last for block in range(depth)]
            blocks = [
                SwinBlock(width, count, block % 2 == 1, rates[block], dtype, rngs, window) for block in range(depth)
            ]
            stages.append(nnx.List(blocks))
            number += depth
        self.stages = nnx.List(stages)
        self.norms = nnx.List([layer_norm(self.channels[stage], dtype, rngs) for stage in self.used])
        self.mergings = nnx.List([PatchMerging(width, dtype, rngs) for width in self.channels[:-1]])

    def __call__(
        self, x: Float[Array, "B H W 3"], train: bool, key: Key[Array, ""] | None = None
    ) -> list[Float[Array, "B _ _ _"]]:
        """In training the key decides which branches are dropped; without one, none is."""
        x = self.patches(x)
        maps, number = [], 0
        for stage, blocks in enumerate(self.stages):
            padded = [-(-side // self.window) * self.window for side in x.shape[1:3]]
            mask = shift_mask(*padded, at_least_float32(self.dtype), self.window)
            for block in blocks:
                block_key = jax.random.fold_in(key, number) if train and key is not None else None
                x = run_block(self.remat, block, x, mask, block_key)
                number += 1
            maps.append(self.norms[self.used.index(stage)](x) if stage in self.used else x)
            if stage < len(self.mergings):
                x = self.mergings[stage](x)
        return maps
