"""Trunk and pyramid as one module, chosen by the config; and the normalisation of pictures."""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from querypose_jax.backbones.fpn import FPN
from querypose_jax.backbones.hrfpn import LateralHRFPN, PlainHRFPN
from querypose_jax.backbones.hrnet import BRANCH_WIDTHS, HRNet
from querypose_jax.backbones.resnet import BLOCKS, ResNet
from querypose_jax.backbones.small import SmallTrunk
from querypose_jax.backbones.swin import SIZES, Swin
from querypose_jax.backbones.windows import WINDOW
from querypose_jax.errors import UserError
from querypose_jax.layers.initialisers import Rngs
from querypose_jax.structures import Batch

PIXEL_MEAN = (123.675, 116.28, 103.53)  # RGB, of 0..255
PIXEL_STD = (58.395, 57.12, 57.375)

HRNET_PYRAMIDS: dict[str, type[PlainHRFPN | LateralHRFPN]] = {"plain": PlainHRFPN, "v1": LateralHRFPN}


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

    def __init__(self, config: ConfigDict, dtype: jnp.dtype, rngs: Rngs, pictures_per_group: int = 0):
        """
        Args:
            config: `config.model.backbone`.
            dtype: of the computation.
            rngs: keys of the initial values.
            pictures_per_group: pictures that share the batch-norm statistics of an hrnet; 0 = the whole batch.
        """
        self.trunk = build_trunk(config, dtype, rngs, pictures_per_group)
        self.pyramid = build_pyramid(config, self.trunk.channels, dtype, rngs)

    def __call__(
        self, images: Float[Array, "B H W 3"], train: bool = False, key: Key[Array, ""] | None = None
    ) -> list[Float[Array, "B _ _ C"]]:
        """`key` is for what a trunk draws in training (drop path of swin); without one nothing is dropped."""
        with jax.named_scope("trunk"):
            levels = self.trunk(images, train, key)
        with jax.named_scope("pyramid"):
            return self.pyramid(levels)


def build_trunk(
    config: ConfigDict, dtype: jnp.dtype, rngs: Rngs, pictures_per_group: int
) -> ResNet | HRNet | Swin | SmallTrunk:
    """The trunk that `config.model.backbone` names; UserError for an unknown one."""
    if config.name == "resnet":
        check_known(config, "depth", BLOCKS)
        remat = config.remat
        return ResNet(config.depth, remat, dtype, rngs)
    if config.name == "hrnet":
        check_known(config, "branch_width", BRANCH_WIDTHS)
        return HRNet(config.branch_width, pictures_per_group, config.remat, dtype, rngs)
    if config.name == "swin":
        check_known(config, "size", SIZES)
        if not 0 <= config.drop_path < 1:
            raise UserError(f"config.model.backbone.drop_path={config.drop_path!r} must be at least 0 and less than 1")
        window, used = config.get("window", WINDOW), config.get("stages", (0, 1, 2, 3))  # with a pyramid: no such keys
        return Swin(config.size, config.drop_path, config.remat, dtype, rngs, window, used)
    if config.name == "small":
        return SmallTrunk(dtype, rngs)
    raise UserError(f"config.model.backbone.name={config.name!r} is unknown; known: resnet, hrnet, swin, small")


def build_pyramid(
    config: ConfigDict, channels: Sequence[int], dtype: jnp.dtype, rngs: Rngs
) -> FPN | PlainHRFPN | LateralHRFPN:
    """The pyramid that goes with the trunk; UserError for an unknown one."""
    if config.name != "hrnet":
        return FPN(channels, config.width, dtype, rngs)
    check_known(config, "pyramid", HRNET_PYRAMIDS)
    return HRNET_PYRAMIDS[config.pyramid](channels, config.width, dtype, rngs)


def check_known(config: ConfigDict, key: str, known: Iterable[int | str]) -> None:
    """Raises UserError unless the value of a key of `config.model.backbone` is one of those known."""
    if config[key] not in known:
        raise UserError(
            f"config.model.backbone.{key}={config[key]!r} is unknown for {config.name}; "
            f"known: {', '.join(map(str, known))}"
        )
