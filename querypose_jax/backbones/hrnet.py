"""HRNet (Wang et al. 2019): branches of four resolutions side by side that exchange what they see, eight times."""

import functools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.batch_norm import PictureBatchNorm
from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.initialisers import Rngs, pytorch_uniform
from querypose_jax.layers.remat import run_block
from querypose_jax.layers.upsample import nearest_upsample

BRANCH_WIDTHS = (32, 48)  # channels of branch 0; branch b has 2^b times as many, at 2^b times the stride
STEM = 64
LAYER1 = 256  # channels after the bottlenecks
LAYER1_BLOCKS = 4
MODULES = (1, 4, 3)  # of stages 2, 3 and 4, which have 2, 3 and 4 branches
BRANCH_BLOCKS = 4  # residual blocks of a branch in a module


class ConvNorm(nnx.Module):
    """Convolution without bias and trainable batch norm."""

    def __init__(
        self, fan_in: int, fan_out: int, size: int, stride: int, pictures_per_group: int, dtype: jnp.dtype, rngs: Rngs
    ):
        self.conv = Conv(fan_in, fan_out, size, dtype, rngs, init=pytorch_uniform, stride=stride)
        self.norm = PictureBatchNorm(fan_out, pictures_per_group, dtype)

    def __call__(self, x: Float[Array, "B h w _"], train: bool) -> Float[Array, "B _ _ _"]:
        return self.norm(self.conv(x), train)


MakeConvNorm = Callable[[int, int, int, int], ConvNorm]  # from fan_in, fan_out, size, stride


class Bottleneck(nnx.Module):
    """1x1, 3x3, 1x1, plus the shortcut, which is projected where the width changes."""

    def __init__(self, fan_in: int, fan_out: int, make: MakeConvNorm):
        width = fan_out // 4
        self.conv1 = make(fan_in, width, 1, 1)
        self.conv2 = make(width, width, 3, 1)
        self.conv3 = make(width, fan_out, 1, 1)
        self.shortcut = make(fan_in, fan_out, 1, 1) if fan_in != fan_out else None

    def __call__(self, x: Float[Array, "B h w _"], train: bool) -> Float[Array, "B h w _"]:
        y = jax.nn.relu(self.conv1(x, train))
        y = self.conv3(jax.nn.relu(self.conv2(y, train)), train)
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x, train)))


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions plus the identity."""

    def __init__(self, width: int, make: MakeConvNorm):
        self.conv1 = make(width, width, 3, 1)
        self.conv2 = make(width, width, 3, 1)

    def __call__(self, x: Float[Array, "B h w C"], train: bool) -> Float[Array, "B h w C"]:
        return jax.nn.relu(x + self.conv2(jax.nn.relu(self.conv1(x, train)), train))


class FusionPath(nnx.Module):
    """One branch's map at another branch's width and resolution.

    Upwards a 1x1 convolution and nearest upsampling, downwards 3x3 convolutions of stride 2 with ReLUs between them
    and none at the end, to the own branch nothing at all.
    """

    def __init__(self, source: int, target: int, widths: Sequence[int], make: MakeConvNorm):
        self.factor = 2 ** max(source - target, 0)
        if source > target:
            steps = [make(widths[source], widths[target], 1, 1)]
        else:
            halvings = target - source
            fan_outs = [widths[target if step == halvings - 1 else source] for step in range(halvings)]
            steps = [make(widths[source], fan_out, 3, 2) for fan_out in fan_outs]
        self.steps = nnx.List(steps)

    def __call__(self, x: Float[Array, "B h w _"], train: bool) -> Float[Array, "B _ _ _"]:
        for index, step in enumerate(self.steps):
            x = step(x if index == 0 else jax.nn.relu(x), train)
        return nearest_upsample(x, self.factor)


class Exchange(nnx.Module):
    """A module of the paper: four residual blocks on every branch, then every branch becomes a sum over all of them."""

    def __init__(self, widths: Sequence[int], make: MakeConvNorm):
        branches = range(len(widths))
        self.branches = nnx.List(
            [nnx.List([BasicBlock(width, make) for _ in range(BRANCH_BLOCKS)]) for width in widths]
        )
        self.fusions = nnx.List(
            [nnx.List([FusionPath(source, target, widths, make) for source in branches]) for target in branches]
        )

    def __call__(self, maps: Sequence[Float[Array, "B _ _ _"]], train: bool) -> list[Float[Array, "B _ _ _"]]:
        refined = []
        for x, blocks in zip(maps, self.branches, strict=True):
            for block in blocks:
                x = block(x, train)
            refined.append(x)
        return [
            jax.nn.relu(
                functools.reduce(operator.add, [path(x, train) for path, x in zip(paths, refined, strict=True)])
            )
            for paths in self.fusions
        ]


class HRNet(nnx.Module):
    """Trunk: picture to the four branches C2..C5 (strides 4..32). Everything trains, batch norm included."""

    def __init__(self, branch_width: int, pictures_per_group: int, remat: bool, dtype: jnp.dtype, rngs: Rngs):
        """
        Args:
            branch_width: channels of branch 0, one of BRANCH_WIDTHS.
            pictures_per_group: neighbouring pictures that share batch-norm statistics; 0 = the whole batch.
            remat: True computes each module again in the backward pass.
            dtype: of the computation.
            rngs: keys of the initial values.
        """
        make = functools.partial(ConvNorm, pictures_per_group=pictures_per_group, dtype=dtype, rngs=rngs)
        self.remat = remat
        self.channels = tuple(branch_width << branch for branch in range(4))
        self.conv1 = make(3, STEM, 3, 2)
        self.conv2 = make(STEM, STEM, 3, 2)
        self.layer1 = nnx.List(
            [Bottleneck(STEM if block == 0 else LAYER1, LAYER1, make) for block in range(LAYER1_BLOCKS)]
        )
        finest, second, *others = self.channels
        transitions = [make(LAYER1, finest, 3, 1), make(LAYER1, second, 3, 2)]
        self.transitions = nnx.List(transitions + [make(width // 2, width, 3, 2) for width in others])
        self.stages = nnx.List(
            [
                nnx.List([Exchange(self.channels[:branches], make) for _ in range(modules)])
                for branches, modules in enumerate(MODULES, start=2)
            ]
        )

    def __call__(
        self, x: Float[Array, "B H W 3"], train: bool, key: Array | None = None
    ) -> list[Float[Array, "B _ _ _"]]:
        """Nothing is drawn: the key is not used."""
        x = jax.nn.relu(self.conv1(x, train))
        x = jax.nn.relu(self.conv2(x, train))
        for block in self.layer1:
            x = run_block(self.remat, block, x, train)
        to_finest, *to_coarser = self.transitions
        maps = [jax.nn.relu(to_finest(x, train))]
        for transition, modules in zip(to_coarser, self.stages, strict=True):
            maps = [*maps, jax.nn.relu(transition(x, train))]
            for module in modules:
                maps = run_block(self.remat, module, maps, train)
            x = maps[-1]  # the next branch grows from the coarsest one
        return maps
