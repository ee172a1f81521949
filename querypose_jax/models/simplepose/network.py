"""The network of SimplePose V2: a stacked hourglass and, per stack, one 1x1 convolution for each kind of map."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from querypose_jax.backbones.hourglass import DEVIATION, StackedHourglass, step
from querypose_jax.errors import UserError
from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.initialisers import Rngs, normal
from querypose_jax.layers.linear import at_least_float32
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.skeletons import Skeleton


class Network(nnx.Module):
    """Normalised pictures to maps."""

    def __init__(self, config: ConfigDict, skeleton: Skeleton, pictures_per_group: int, dtype: jnp.dtype, rngs: Rngs):
        """
        Args:
            config: `config.model`.
            skeleton: its joints have heatmaps, its limbs offsets.
            pictures_per_group: neighbouring pictures that share batch-norm statistics; 0 = the whole batch.
            dtype: of the computation.
            rngs: keys of the initial values.
        """
        self.dtype = dtype
        self.step = step(config.backbone)
        self.backbone = StackedHourglass(config.backbone, dtype, rngs, pictures_per_group)
        joints, limbs = skeleton.num_keypoints, len(skeleton.limbs)

        def heads(channels: int) -> nnx.List:
            settings = dict(init=normal(DEVIATION), bias_init=nnx.initializers.zeros)
            width, stacks = config.backbone.feature_dim, config.backbone.stacks
            return nnx.List([Conv(width, channels, 1, dtype, rngs, **settings) for _ in range(stacks)])

        self.heatmaps = heads(joints)
        self.offsets = heads(2 * limbs)
        self.scales = heads(joints) if config.scale_head else None

    def __call__(self, images: Float[Array, "B H W 3"], train: bool = False) -> Maps:
        """The maps of all stacks, in at least float32.

        Raises:
            UserError: a picture whose sides the hourglass cannot halve so often.
        """
        if any(side % self.step for side in images.shape[1:3]):
            height, width = images.shape[1:3]
            raise UserError(f"a picture of {width} x {height} pixels: sides must be multiples of {self.step}")
        with jax.named_scope("backbone"):
            features = self.backbone(images, train)
        heatmaps = self._read(self.heatmaps, features)
        offsets = self._read(self.offsets, features)
        offsets = offsets.reshape(*offsets.shape[:-1], -1, 2)  # channel 2i is x, 2i + 1 y
        return Maps(heatmaps, offsets, self._read(self.scales, features) if self.scales is not None else None)

    def _read(self, heads: nnx.List, features: list[Array]) -> Float[Array, "S B h w _"]:
        maps = jnp.stack([head(x) for head, x in zip(heads, features, strict=True)])
        return maps.astype(at_least_float32(self.dtype))
