"""Dynamic convolution of Sparse R-CNN (Sun et al. 2021, section 3.2): a query writes the weights for its own RoI."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from querypose_jax.layers.initialisers import Rngs
from querypose_jax.layers.linear import layer_norm, linear


class DynamicConv(nnx.Module):
    """Two per-instance matrices, made from the query, are applied to the tokens of its RoI; gives one vector."""

    def __init__(self, dim: int, hidden: int, tokens: int, dtype: jnp.dtype, rngs: Rngs):
        self.hidden = hidden
        self.dynamic_layer = linear(dim, 2 * dim * hidden, dtype, rngs)
        self.norm1 = layer_norm(hidden, dtype, rngs)
        self.norm2 = layer_norm(dim, dtype, rngs)
        self.out_layer = linear(tokens * dim, dim, dtype, rngs)
        self.norm3 = layer_norm(dim, dtype, rngs)

    def __call__(self, query: Float[Array, "*B C"], tokens: Float[Array, "*B T C"]) -> Float[Array, "*B C"]:
        """tokens are row-major over the RoI; without the outer residual."""
        batch, dim = query.shape[:-1], query.shape[-1]
        squeeze, expand = jnp.split(self.dynamic_layer(query), 2, -1)
        x = jax.nn.relu(self.norm1(tokens @ squeeze.reshape(*batch, dim, self.hidden)))
        x = jax.nn.relu(self.norm2(x @ expand.reshape(*batch, self.hidden, dim)))
        return jax.nn.relu(self.norm3(self.out_layer(x.reshape(*batch, -1))))
