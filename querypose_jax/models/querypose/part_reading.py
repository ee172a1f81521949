"""How queries read a person's feature map, other than by SPEGM: only the ablations of the paper's Table 1.

The paper names these rows; sizes and norms are our reading. Each takes a person's convolved feature map and its part
queries, or its instance query as the only one (M = 1), and gives one embedding per query, as SPEGM does.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.layers.attention import SelfAttention
from querypose_jax.layers.dynamic_conv import DynamicConv
from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import layer_norm, linear


class SelfAttentionReading(nnx.Module):
    """MHSA: the part queries of a person and the cells of its map attend to each other; the cells are dropped again."""

    def __init__(self, config: ConfigDict, dtype: jnp.dtype, rngs: Rngs):
        self.reduce = linear(config.dim, config.part_dim, dtype, rngs)
        self.attention = SelfAttention(config.part_dim, config.heads, dtype, rngs)

    def __call__(self, features: Float[Array, "Q h w C"], part_queries: Float[Array, "Q M P"]) -> Float[Array, "Q M P"]:
        tokens = jnp.concatenate([part_queries, cells(self.reduce(features))], 1)
        return self.attention(tokens)[:, : part_queries.shape[1]]


class ChannelReading(nnx.Module):
    """Channel DyMLP: each part query writes the two matrices that mix the channels of every cell (Sparse R-CNN)."""

    def __init__(self, config: ConfigDict, dtype: jnp.dtype, rngs: Rngs):
        self.reduce = linear(config.dim, config.part_dim, dtype, rngs)
        self.interaction = DynamicConv(config.part_dim, config.dynamic_dim, config.pose_roi**2, dtype, rngs)

    def __call__(self, features: Float[Array, "Q h w C"], part_queries: Float[Array, "Q M P"]) -> Float[Array, "Q M P"]:
        tokens = cells(self.reduce(features))
        by_part = jnp.broadcast_to(tokens[:, None], (*part_queries.shape[:2], *tokens.shape[1:]))
        return self.interaction(part_queries, by_part)


class SpatialReading(nnx.Module):
    """Spatial DyMLP: each part query writes the two matrices that mix the cells of every channel."""

    def __init__(self, config: ConfigDict, dtype: jnp.dtype, rngs: Rngs):
        count, self.hidden = config.pose_roi**2, config.dynamic_dim
        self.reduce = linear(config.dim, config.part_dim, dtype, rngs)
        self.dynamic_layer = linear(config.part_dim, 2 * count * self.hidden, dtype, rngs)
        self.norm1 = layer_norm(self.hidden, dtype, rngs)
        self.norm2 = layer_norm(count, dtype, rngs)
        self.out_layer = linear(count * config.part_dim, config.part_dim, dtype, rngs)
        self.norm3 = layer_norm(config.part_dim, dtype, rngs)

    def __call__(self, features: Float[Array, "Q h w C"], part_queries: Float[Array, "Q M P"]) -> Float[Array, "Q M P"]:
        channels = cells(self.reduce(features)).swapaxes(1, 2)[:, None]  # [Q, 1, P, cells], the same for all parts
        squeeze, expand = jnp.split(self.dynamic_layer(part_queries), 2, -1)
        rows = part_queries.shape[:2]
        x = jax.nn.relu(self.norm1(channels @ squeeze.reshape(*rows, -1, self.hidden)))
        x = jax.nn.relu(self.norm2(x @ expand.reshape(*rows, self.hidden, -1)))
        return jax.nn.relu(self.norm3(self.out_layer(x.reshape(*rows, -1))))


READINGS = {"mhsa": SelfAttentionReading, "channel": ChannelReading, "spatial": SpatialReading}
KNOWN = ("attention", *READINGS)


def make_reading(name: str, config: ConfigDict, dtype: jnp.dtype, rngs: Rngs) -> nnx.Module:
    """The module that config.model.part_reading names; "attention" is SPEGM and not made here.

    Raises:
        UserError: unknown name.
    """
    if name not in READINGS:
        raise UserError(f"config.model.part_reading={name!r} is unknown; known: {', '.join(KNOWN)}")
    return READINGS[name](config, dtype, rngs)


def cells(features: Float[Array, "Q h w P"]) -> Float[Array, "Q T P"]:
    """A map as its cells, row-major."""
    return features.reshape(features.shape[0], -1, features.shape[-1])
