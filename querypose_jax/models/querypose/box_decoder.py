"""One stage of the box decoder: Sparse R-CNN (Sun et al. 2021), paper section 3.1."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from kernels.choice import on_every_device
from kernels.roi_align import roi_align
from querypose_jax.backbones.fpn import PYRAMID_STRIDES
from querypose_jax.geometry.boxes import apply_deltas
from querypose_jax.layers.attention import SelfAttention
from querypose_jax.layers.dynamic_conv import DynamicConv
from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import FeedForward, Tower, at_least_float32, layer_norm, linear

PRIOR = 0.01  # class probability at the start of training


class BoxDecoder(nnx.Module):
    """Refines boxes and instance queries; predicts class logits. Post-norm throughout."""

    def __init__(self, config: ConfigDict, dtype: jnp.dtype, rngs: Rngs):
        dim = config.dim
        self.cells = config.box_roi
        self.roi_align = config.roi_align
        self.dtype = dtype
        self.attention = SelfAttention(dim, config.heads, dtype, rngs)
        self.attention_norm = layer_norm(dim, dtype, rngs)
        self.interaction = DynamicConv(dim, config.dynamic_dim, config.box_roi**2, dtype, rngs)
        self.interaction_norm = layer_norm(dim, dtype, rngs)
        self.ffn = FeedForward(dim, config.ffn_dim, dtype, rngs)
        self.ffn_norm = layer_norm(dim, dtype, rngs)
        self.class_tower = Tower(dim, config.class_layers, dtype, rngs)
        self.box_tower = Tower(dim, config.box_layers, dtype, rngs)
        prior = nnx.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        self.class_logits = linear(dim, config.num_classes, dtype, rngs, bias=prior)
        self.box_deltas = linear(dim, 4, dtype, rngs)

    @jax.named_scope("box_decoders")
    def __call__(
        self, pyramid: Sequence[Float[Array, "B _ _ C"]], boxes: Float[Array, "B N 4"], queries: Float[Array, "B N C"]
    ) -> tuple[Float[Array, "B N _"], Float[Array, "B N 4"], Float[Array, "B N C"]]:
        """Boxes in network pixels. Returns class logits, the moved boxes and the refined queries."""
        tokens = self.pool(pyramid, boxes)
        queries = self.attention_norm(queries + self.attention(queries))
        queries = self.interaction_norm(queries + self.interaction(queries, tokens))
        queries = self.ffn_norm(queries + self.ffn(queries))
        wide = at_least_float32(self.dtype)
        logits = self.class_logits(self.class_tower(queries)).astype(wide)
        deltas = self.box_deltas(self.box_tower(queries)).astype(wide)
        return logits, apply_deltas(deltas, boxes), queries

    def pool(self, pyramid: Sequence[Float[Array, "B _ _ C"]], boxes: Float[Array, "B N 4"]) -> Float[Array, "B N T C"]:
        """RoIAlign over P2..P5, cells row-major. Mapped over pictures, so that a sharded batch stays where it is."""
        count, queries = boxes.shape[:2]

        def pool_picture(levels, boxes):
            levels = [level[None] for level in levels]
            return roi_align(levels, boxes, jnp.zeros(queries, jnp.int32), PYRAMID_STRIDES, self.cells, self.roi_align)

        pooled = on_every_device(jax.vmap(pool_picture), list(pyramid), boxes)
        return pooled.reshape(count, queries, self.cells**2, -1)
