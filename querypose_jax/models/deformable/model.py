"""What the deformable models begin with: pictures to the memory of an encoder, and the choice of tokens."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict, FrozenConfigDict

from querypose_jax.backbones.backbone import build_trunk, normalise
from querypose_jax.layers.initialisers import Keys
from querypose_jax.models.base import PoseModel
from querypose_jax.models.deformable.encoder import Encoder
from querypose_jax.models.deformable.proposals import Selected, TokenScores, select
from querypose_jax.models.deformable.tokens import InputProjection, Tokens, level_embeddings, make_tokens
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch


class DeformableModel(PoseModel):
    """Backbone, projection and encoder; a family adds its decoder and calls `encode` and `select`."""

    def __init__(self, config: ConfigDict, keys: Keys):
        """`config` is the whole configuration: the groups model, data (skeleton) and matching (solver) are read."""
        model = config.model
        self.config = FrozenConfigDict(model)
        self.skeleton = get_skeleton(config.data.skeleton)
        self.solver = config.matching.solver
        self.dtype = jnp.dtype(model.dtype)
        width, levels, dtype = model.dim, model.levels, self.dtype
        self.backbone = build_trunk(model.backbone, dtype, keys, pictures_per_group=0)
        channels = [self.backbone.channels[stage] for stage in model.backbone.stages]
        self.projection = InputProjection(channels, width, levels, dtype, keys)
        self.level_embeddings = level_embeddings(levels, width, dtype, keys)
        sizes = (width, model.heads, levels, model.encoder_points, model.ffn_dim)
        self.encoder = Encoder(model.encoder_layers, *sizes, model.remat, dtype, keys)
        self.token_scores = TokenScores(width, model.num_classes + 1, dtype, keys)

    def maps(self, batch: Batch, train: bool, key: Key[Array, ""] | None) -> list[Float[Array, "B _ _ _"]]:
        """The backbone's maps that are used, finest first.

        `key` is for what is drawn in a training step (drop path of a swin); without one nothing is dropped.
        """
        with jax.named_scope("backbone"):
            maps = self.backbone(normalise(batch, self.dtype), train, key)
        return [maps[stage] for stage in self.config.backbone.stages]

    def encode(self, maps: Sequence[Float[Array, "B _ _ _"]], batch: Batch) -> tuple[Tokens, Float[Array, "B T C"]]:
        """Raw maps of the backbone to tokens and the encoder's memory."""
        with jax.named_scope("encoder"):
            canvas = batch.image.shape[1:3]
            tokens = make_tokens(self.projection(maps), batch.valid_size, canvas, self.level_embeddings[...])
            return tokens, self.encoder(tokens)

    def select(self, tokens: Tokens, memory: Float[Array, "B T C"]) -> Selected:
        """The `num_queries` best tokens."""
        with jax.named_scope("selection"):
            return select(self.token_scores, tokens, memory, self.config.num_queries)
