"""SimplePose V2 (Li et al., arXiv 2107.03098): joints first, then people, put together along guiding offsets."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key
from ml_collections import ConfigDict, FrozenConfigDict

from querypose_jax.backbones.backbone import normalise
from querypose_jax.layers.initialisers import Keys
from querypose_jax.models.base import PoseModel, Wanted
from querypose_jax.models.simplepose.decode import best, decode, merge_mirrored
from querypose_jax.models.simplepose.losses import simplepose_loss
from querypose_jax.models.simplepose.network import Network
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.models.simplepose.targets import make_targets
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch, Poses


class SimplePose(PoseModel):
    """Its network pixels are whole at their centres, as in the release; its pictures fill their canvas."""

    def __init__(self, config: ConfigDict, rngs: nnx.Rngs):
        """`config` is the whole configuration."""
        self.config = FrozenConfigDict(config.model)
        self.skeleton = get_skeleton(config.data.skeleton)
        self.dtype = jnp.dtype(config.model.dtype)
        keys = Keys(rngs.params())
        self.network = Network(config.model, self.skeleton, config.train.pictures_per_group, self.dtype, keys)

    def __call__(self, batch: Batch, train: bool = False, key: Key[Array, ""] | None = None) -> Maps:
        """Pictures to the maps of all stacks. Nothing is drawn: the key is not used."""
        return self.network(normalise(batch, self.dtype), train)

    def loss(self, outputs: Maps, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Weighted total and unweighted terms; the targets are made here, from the joints of the batch."""
        settings = self.config.targets
        with jax.named_scope("targets"):
            targets = make_targets(batch, self.skeleton, settings, self.dtype, self.config.scale_head)
        return simplepose_loss(outputs, targets, self.config.loss, settings.tau)

    def decode(self, outputs: Maps, batch: Batch) -> Poses:
        """People of the last stack's maps in original pixels, best first."""
        return decode(last_stack(outputs), batch, self.skeleton, self.config.decode)

    def predict(self, batch: Batch, wanted: Wanted | None = None, flip: bool = False) -> Poses:
        """The people of a batch; with `flip` from the average of both views' maps, as released."""
        images = normalise(batch, self.dtype)
        if flip:
            images = jnp.concatenate([images, images[:, :, ::-1]])
        maps = last_stack(self.network(images))
        if flip:
            own, mirrored = (jax.tree.map(lambda x, v=view: jnp.split(x, 2)[v], maps) for view in (0, 1))
            maps = merge_mirrored(own, mirrored, self.skeleton.flip_index, self.skeleton.flip_limbs)
        poses = decode(maps, batch, self.skeleton, self.config.decode)
        if wanted is None:
            return poses
        poses = dataclasses.replace(poses, valid=poses.valid & (poses.scores >= wanted.threshold))
        return best(poses, wanted.best)


def last_stack(maps: Maps) -> Maps:
    """The maps that are read at test time."""
    return jax.tree.map(lambda x: x[-1], maps)
