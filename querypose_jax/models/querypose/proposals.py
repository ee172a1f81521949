"""The boxes that learnable proposals start from."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from querypose_jax.errors import UserError


def initial_proposals(config: ConfigDict) -> Float[Array, "N 4"]:
    """cx, cy, w, h relative to the picture: the whole picture (as released) or a grid of centres, row by row."""
    count = config.num_proposals
    if config.proposals == "image":
        return jnp.tile(jnp.array([0.5, 0.5, 1.0, 1.0]), (count, 1))
    if config.proposals != "grid":
        raise UserError(f"config.model.proposals={config.proposals!r} is unknown; known: image, grid")
    rows, columns = config.proposal_grid
    if rows * columns != count:
        raise UserError(
            f"config.model.proposal_grid={rows}x{columns} makes {rows * columns} boxes for num_proposals={count}"
        )
    y, x = jnp.meshgrid((jnp.arange(rows) + 0.5) / rows, (jnp.arange(columns) + 0.5) / columns, indexing="ij")
    size = jnp.broadcast_to(jnp.array(config.proposal_size), (count, 2))
    return jnp.concatenate([x.reshape(-1, 1), y.reshape(-1, 1), size], -1)
