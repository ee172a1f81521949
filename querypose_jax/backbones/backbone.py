"""Trunk and pyramid as one module, chosen by the config; and the normalisation of pictures."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from querypose_jax.backbones.fpn import FPN
from querypose_jax.backbones.resnet import BLOCKS, ResNet
from querypose_jax.backbones.small import SmallTrunk
from querypose_jax.errors import UserError
from querypose_jax.layers.initialisers import Rngs
from querypose_jax.structures import Batch

PIXEL_MEAN = (123.675, 116.28, 103.53)  # RGB, of 0..255
PIXEL_STD = (58.395, 57.12, 57.375)


def normalise(batch: Batch, dtype: jnp.dtype) -> Float[Array, "B H W 3"]:
    """Mean and standard deviation of the pixels, then zero outside of each picture: padding is the mean colour."""
    height, width = batch.image.shape[1:3]
    wide = jnp.promote_types(dtype, jnp.float32)
    pixels = (batch.image.astype(wide) - jnp.array(PIXEL_MEAN, wide)) / jnp.array(PIXEL_STD, wide)
    is_row = jnp.arange(height)[None, :, None] < batch.valid_size[:, 0, None, None]
    is_column = jnp.arange(width)[None, None, :] < batch.valid_size[:, 1, None, None]
    return jnp.where((is_row & is_column)[..., None], pixels, 0).astype(dtype)


class Backbone(nnx.Module):
    """A trunk (C2..C5) and the pyramid on top of it (P2..P5, all of the same width)."""

    def __init__(self, config: ConfigDict, dtype: jnp.dtype, rngs: Rngs):
        self.trunk = build_trunk(config, dtype, rngs)
        self.pyramid = FPN(self.trunk.channels, config.width, dtype, rngs)

    def __call__(self, images: Float[Array, "B H W 3"], train: bool = False) -> list[Float[Array, "B _ _ C"]]:
        return self.pyramid(self.trunk(images, train))


def build_trunk(config: ConfigDict, dtype: jnp.dtype, rngs: Rngs) -> ResNet | SmallTrunk:
    """The trunk that `config.model.backbone` names; UserError for an unknown one."""
    if config.name == "resnet":
        if config.depth not in BLOCKS:
            raise UserError(
                f"config.model.backbone.depth={config.depth}: a resnet has depth {' or '.join(map(str, BLOCKS))}"
            )
        return ResNet(config.depth, dtype, rngs)
    if config.name == "small":
        return SmallTrunk(dtype, rngs)
    raise UserError(f"config.model.backbone.name={config.name!r} is unknown; known: resnet, small")
