"""Group Pose (Liu et al., ICCV 2023): a deformable DETR that predicts N poses as N x K points, without boxes."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from querypose_jax.layers.initialisers import Keys, xavier_uniform
from querypose_jax.layers.linear import at_least_float32
from querypose_jax.layers.remat import run_block
from querypose_jax.models.deformable.decode import decode
from querypose_jax.models.deformable.heads import class_head, moving_head, position_head
from querypose_jax.models.deformable.model import DeformableModel
from querypose_jax.models.deformable.tokens import Tokens
from querypose_jax.models.grouppose.criterion import grouppose_loss
from querypose_jax.models.grouppose.decoder import (
    DecoderLayer,
    add_position,
    joint_positions,
    move_points,
    on_maps,
    with_centre,
)
from querypose_jax.models.grouppose.outputs import Outputs
from querypose_jax.structures import Batch, Poses


class GroupPose(DeformableModel):
    """The whole model; see `Outputs` for what a call returns."""

    def __init__(self, config: ConfigDict, rngs: nnx.Rngs):
        """`config` is the whole configuration: the groups model, data (skeleton) and matching (solver) are read."""
        keys = Keys(rngs.params())
        super().__init__(config, keys)
        model, dtype, wide = config.model, self.dtype, at_least_float32(self.dtype)
        joints, columns = self.skeleton.num_keypoints, model.num_classes + 1
        width, sizes, decoder_layers = model.dim, (model.dim, model.heads, model.levels), range(model.decoder_layers)
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
        """Pictures to predictions; the people of the batch are not read. `key` as in `maps`."""
        return self.decode_queries(*self.encode(self.maps(batch, train, key), batch))

    def decode_queries(self, tokens: Tokens, memory: Float[Array, "B T C"]) -> Outputs:
        """Memory to predictions: the best tokens give first poses, each decoder layer moves them (sections 7 to 11).

        Positions and samples read stopped references. A layer's prediction starts from the reference that entered it,
        not stopped, so that its loss teaches the layer before too ("look forward twice").
        """
        chosen = self.select(tokens, memory)
        moves = self.token_pose(chosen.content).reshape(*chosen.token.shape, -1, 2)
        first_points = jax.nn.sigmoid(moves + chosen.proposals[:, :, None, :2])

        with jax.named_scope("decoder"):
            x = self.first_queries(jax.lax.stop_gradient(chosen.content))
            references = [jax.lax.stop_gradient(with_centre(first_points))]
            seen: list[Float[Array, "B N J C"]] = []
            for layer, head in zip(self.layers, self.point_heads, strict=True):
                stopped = jax.lax.stop_gradient(references[-1])
                places = on_maps(stopped, tokens)
                position = self.positions(places)
                x = add_position(x, position)
                if seen and self.config.faithful_aux:
                    seen[-1] = x  # released: the sum is written over the output of the layer before
                entering = x
                x = run_block(self.config.remat, layer, x, position, places, memory, tokens)
                seen.append(x)
                references.append(with_centre(move_points(head, x, stopped)))
            logits = [head(x[:, :, 0]) for head, x in zip(self.class_heads, seen, strict=True)]
            entered = references[:-1]
            points = [move_points(*rest) for rest in zip(self.point_heads, seen, entered, strict=True)]
        return Outputs(
            logits=jnp.stack([*logits, chosen.logits]),
            points=jnp.stack([*points, first_points]),
            references=jnp.stack(references),
            queries=entering,
            token=chosen.token,
        )

    def positions(self, places: Float[Array, "B N J L 2"]) -> Float[Array, "B N _ C"]:
        """Of the joint queries, which are at these places; in the type of the queries."""
        return joint_positions(self.position_head, places, self.config.dim).astype(self.dtype)

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
