"""Group Pose (Liu et al., ICCV 2023): a deformable DETR that predicts N poses as N x K points, without boxes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict, FrozenConfigDict

from querypose_jax.backbones.backbone import build_trunk, normalise
from querypose_jax.layers.initialisers import Keys, xavier_uniform
from querypose_jax.layers.linear import at_least_float32
from querypose_jax.layers.remat import run_block
from querypose_jax.models.base import PoseModel
from querypose_jax.models.deformable.encoder import Encoder
from querypose_jax.models.deformable.heads import class_head, moving_head, position_head
from querypose_jax.models.deformable.proposals import TokenScores, best, make_proposals, take
from querypose_jax.models.deformable.tokens import InputProjection, Tokens, level_embeddings, make_tokens
from querypose_jax.models.grouppose.criterion import grouppose_loss
from querypose_jax.models.grouppose.decode import decode
from querypose_jax.models.grouppose.decoder import (
    DecoderLayer,
    add_position,
    joint_positions,
    move_points,
    on_maps,
    with_centre,
)
from querypose_jax.models.grouppose.outputs import Outputs
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch, Poses


class GroupPose(PoseModel):
    """The whole model; see `Outputs` for what a call returns."""

    def __init__(self, config: ConfigDict, rngs: nnx.Rngs):
        """`config` is the whole configuration: the groups model, data (skeleton) and matching (solver) are read."""
        model = config.model
        self.config = FrozenConfigDict(model)
        self.skeleton = get_skeleton(config.data.skeleton)
        self.solver = config.matching.solver
        self.dtype = jnp.dtype(model.dtype)
        width, dtype, wide = model.dim, self.dtype, at_least_float32(self.dtype)
        keys, joints, columns = Keys(rngs.params()), self.skeleton.num_keypoints, model.num_classes + 1
        levels, decoder_layers = model.levels, range(model.decoder_layers)

        self.backbone = build_trunk(model.backbone, dtype, keys, pictures_per_group=0)
        channels = [self.backbone.channels[stage] for stage in model.backbone.stages]
        self.projection = InputProjection(channels, width, levels, dtype, keys)
        self.level_embeddings = level_embeddings(levels, width, dtype, keys)
        sizes = (width, model.heads, levels)
        self.encoder = Encoder(
            model.encoder_layers, *sizes, model.encoder_points, model.ffn_dim, model.remat, dtype, keys
        )
        self.token_scores = TokenScores(width, columns, dtype, keys)
        self.token_pose = moving_head((width, *(2 * width,) * 3, 2 * joints), dtype, keys)
        self.joint_embeddings = nnx.Param(xavier_uniform(keys.params(), (joints, width), wide))
        self.instance_embedding = nnx.Param(xavier_uniform(keys.params(), (1, width), wide))
        self.layers = nnx.List(
            [DecoderLayer(*sizes, model.decoder_points, model.ffn_dim, dtype, keys) for _ in decoder_layers]
        )
        self.position_head = position_head((width, width, width), dtype, keys)
        self.class_heads = nnx.List([class_head(width, columns, dtype, keys) for _ in decoder_layers])
        self.point_heads = nnx.List([moving_head((width, width, width, 2), dtype, keys) for _ in decoder_layers])

    def __call__(self, batch: Batch, train: bool = False, key: Key[Array, ""] | None = None) -> Outputs:
        """Pictures to predictions; the people of the batch are not read.

        `key` is for what is drawn in a training step (drop path of a swin); without one nothing is dropped.
        """
        with jax.named_scope("backbone"):
            maps = self.backbone(normalise(batch, self.dtype), train, key)
        return self.decode_queries(*self.encode([maps[stage] for stage in self.config.backbone.stages], batch))

    def encode(self, maps: Sequence[Float[Array, "B _ _ _"]], batch: Batch) -> tuple[Tokens, Float[Array, "B T C"]]:
        """Raw maps of the backbone to tokens and the encoder's memory."""
        with jax.named_scope("encoder"):
            canvas = batch.image.shape[1:3]
            tokens = make_tokens(self.projection(maps), batch.valid_size, canvas, self.level_embeddings[...])
            return tokens, self.encoder(tokens)

    def decode_queries(self, tokens: Tokens, memory: Float[Array, "B T C"]) -> Outputs:
        """Memory to predictions: the best tokens give first poses, each decoder layer moves them (sections 7 to 11).

        Positions and samples read stopped references. A layer's prediction starts from the reference that entered it,
        not stopped, so that its loss teaches the layer before too ("look forward twice").
        """
        with jax.named_scope("selection"):
            proposals = make_proposals(tokens)
            queries, scores = self.token_scores(memory, proposals.is_kept)
            token = best(scores, min(self.config.num_queries, scores.shape[1]))
            content = take(queries, token)
            first_logits = take(scores, token)
            moves = self.token_pose(content).reshape(*token.shape, -1, 2)
            first_points = jax.nn.sigmoid(moves + take(proposals.logits, token)[:, :, None, :2])

        with jax.named_scope("decoder"):
            x = self.first_queries(jax.lax.stop_gradient(content))
            references = [jax.lax.stop_gradient(with_centre(first_points))]
            seen: list[Float[Array, "B N J C"]] = []
            for layer, head in zip(self.layers, self.point_heads, strict=True):
                stopped = jax.lax.stop_gradient(references[-1])
                places = on_maps(stopped, tokens)
                position = joint_positions(self.position_head, places, self.config.dim).astype(x.dtype)
                x = add_position(x, position)
                if seen and self.config.faithful_aux:
                    seen[-1] = x  # released: the sum is written over the output of the layer before
                x = run_block(self.config.remat, layer, x, position, places, memory, tokens)
                seen.append(x)
                references.append(with_centre(move_points(head, x, stopped)))
            logits = [head(x[:, :, 0]) for head, x in zip(self.class_heads, seen, strict=True)]
            entered = references[:-1]
            points = [move_points(*rest) for rest in zip(self.point_heads, seen, entered, strict=True)]
        return Outputs(
            logits=jnp.stack([*logits, first_logits]),
            points=jnp.stack([*points, first_points]),
            references=jnp.stack(references),
            token=token,
        )

    def first_queries(self, content: Float[Array, "B N C"]) -> Float[Array, "B N J C"]:
        """Instance queries are one learnt vector alone, joint queries their token's content plus a joint's vector."""
        joints = content[:, :, None] + self.joint_embeddings[...].astype(content.dtype)
        instance = jnp.broadcast_to(self.instance_embedding[...].astype(content.dtype), joints[:, :, :1].shape)
        return jnp.concatenate([instance, joints], 2)

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Weighted sum of all outputs' losses, and the unweighted terms by their released names (`loss_ce_0` ..)."""
        return grouppose_loss(outputs, batch, self.config.loss, self.skeleton.sigmas, self.solver)

    def decode(self, outputs: Outputs, batch: Batch) -> Poses:
        """The best `num_select` pairs of instance and class of the last layer in original pixels, best first."""
        last = len(self.layers) - 1
        return decode(outputs.logits[last], outputs.points[last], batch, self.config.num_select)
