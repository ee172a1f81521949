"""From backbone maps to the tokens that an encoder reads: projection, padding masks, position encodings (section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.initialisers import Rngs, normal, xavier_uniform
from querypose_jax.layers.linear import NORM_EPSILON, at_least_float32
from querypose_jax.models.deformable.encodings import encode_map

GROUPS = 32  # of the group norms
COUNT_EPSILON = 1e-6  # added to the number of valid rows or columns that positions are divided by, released


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tokens:
    """The cells of all maps, finest map first, each row by row."""

    features: Float[Array, "B T C"]
    position: Float[Array, "B T C"]
    """Sine encoding of the cell's place plus the vector of its level; at least float32."""
    is_valid: Bool[Array, "B T"]
    """False on padding."""
    valid_cells: Int[Array, "B L 2"]
    """Valid columns and rows of each map."""
    shapes: tuple[tuple[int, int], ...] = field(metadata={"static": True})
    """Height, width of each map."""

    @property
    def valid_ratios(self) -> Float[Array, "B L 2"]:
        """Valid part of each map's width and height; at least float32."""
        sizes = np.array([(width, height) for height, width in self.shapes])
        return self.valid_cells.astype(self.position.dtype) / sizes.astype(self.position.dtype)


def group_norm(channels: int, dtype: jnp.dtype, rngs: Rngs) -> nnx.GroupNorm:
    """Group norm as released."""
    return nnx.GroupNorm(
        channels,
        num_groups=GROUPS,
        epsilon=NORM_EPSILON,
        dtype=dtype,
        param_dtype=at_least_float32(dtype),
        use_fast_variance=False,
        rngs=rngs,
    )


class InputProjection(nnx.Module):
    """Raw maps to L maps of one width: a 1x1 convolution and group norm each.

    Levels beyond the given maps are halved by 3x3 convolutions of stride 2: the first from the raw last map, further
    ones from the level before.
    """

    def __init__(self, channels: Sequence[int], width: int, levels: int, dtype: jnp.dtype, rngs: Rngs):
        """
        Args:
            channels: of the raw maps, finest first.
            width: C.
            levels: L, at least as many as there are maps.
            dtype: of the computation.
            rngs: keys of the initial values.
        """
        self.maps = len(channels)
        fans = [*channels, *channels[-1:], *[width] * levels][:levels]
        zeros = nnx.initializers.zeros
        self.convs = nnx.List(
            [
                Conv(fan, width, 1, dtype, rngs, init=xavier_uniform, bias_init=zeros)
                if level < self.maps
                else Conv(fan, width, 3, dtype, rngs, init=xavier_uniform, stride=2, bias_init=zeros)
                for level, fan in enumerate(fans)
            ]
        )
        self.norms = nnx.List([group_norm(width, dtype, rngs) for _ in range(levels)])

    def __call__(self, maps: Sequence[Float[Array, "B _ _ _"]]) -> list[Float[Array, "B _ _ C"]]:
        projected: list[Array] = []
        for level, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            raw = maps[min(level, self.maps - 1)] if level <= self.maps else projected[-1]
            projected.append(norm(conv(raw)))
        return projected


def level_embeddings(levels: int, width: int, dtype: jnp.dtype, rngs: Rngs) -> nnx.Param:
    """One learnt vector per level [L, C], added to the position encoding of its cells."""
    return nnx.Param(normal()(rngs.params(), (levels, width), at_least_float32(dtype)))


def valid_cells(valid_size: Int[Array, "B 2"], canvas: tuple[int, int], shape: tuple[int, int]) -> Int[Array, "B 2"]:
    """How many columns and rows of a map show the picture.

    The mask of the canvas is resized to nearest neighbours: cell i of n reads pixel floor(i * side / n) of the canvas.

    Args:
        valid_size: h, w of the pictures, at the top left of the canvas.
        canvas: height, width in pixels.
        shape: height, width of the map.
    """
    counts = []
    for axis, (side, cells) in enumerate(zip(canvas, shape, strict=True)):
        pixel = np.arange(cells) * side // cells
        counts.append((pixel < valid_size[:, axis, None]).sum(-1, dtype=jnp.int32))
    return jnp.stack(counts[::-1], -1)


def make_tokens(
    maps: Sequence[Float[Array, "B _ _ C"]],
    valid_size: Int[Array, "B 2"],
    canvas: tuple[int, int],
    embeddings: Float[Array, "L C"],
) -> Tokens:
    """Lays projected maps end to end.

    Args:
        maps: of all levels, finest first.
        valid_size: h, w of the pictures in pixels of the canvas.
        canvas: height, width of the network's input in pixels.
        embeddings: of the levels.
    """
    dtype = at_least_float32(maps[0].dtype)
    shapes = tuple((x.shape[1], x.shape[2]) for x in maps)
    cells = jnp.stack([valid_cells(valid_size, canvas, shape) for shape in shapes], 1)
    positions, masks = [], []
    for level, (height, width) in enumerate(shapes):
        columns, rows = cells[:, level, 0, None], cells[:, level, 1, None]
        is_row, is_column = jnp.arange(height) < rows, jnp.arange(width) < columns
        masks.append(is_row[:, :, None] & is_column[:, None, :])
        y, x = counted(rows, height, dtype), counted(columns, width, dtype)
        y, x = y[:, :, None] * is_column[:, None, :], x[:, None, :] * is_row[:, :, None]
        positions.append(encode_map(y, x, maps[level].shape[-1]) + embeddings[level].astype(dtype))
    return Tokens(join_levels(maps), join_levels(positions), join_levels(masks), cells, shapes)


def counted(valid: Int[Array, "B 1"], cells: int, dtype: jnp.dtype) -> Float[Array, "B {cells}"]:
    """Running count of valid cells along an axis, from 1 on, relative to their number."""
    count = jnp.minimum(jnp.arange(1, cells + 1), valid).astype(dtype)
    return count / (valid.astype(dtype) + COUNT_EPSILON)


def join_levels(maps: Sequence[Array]) -> Array:
    """[B, h, w, ...] of all levels -> [B, T, ...]."""
    return jnp.concatenate([x.reshape(x.shape[0], -1, *x.shape[3:]) for x in maps], 1)


def cell_numbers(shapes: Sequence[tuple[int, int]]) -> Int[np.ndarray, "T 2"]:
    """Column and row of each token on its map."""
    return np.concatenate([np.stack(np.divmod(np.arange(h * w), w)[::-1], -1) for h, w in shapes])


def token_levels(shapes: Sequence[tuple[int, int]]) -> Int[np.ndarray, " T"]:
    """The level of each token."""
    return np.repeat(np.arange(len(shapes)), [h * w for h, w in shapes])


def cell_centres(tokens: Tokens) -> Float[Array, "B T 2"]:
    """Centres of the cells relative to the picture; beyond 1 on padding."""
    centre = jnp.asarray(cell_numbers(tokens.shapes) + 0.5, tokens.position.dtype)
    return centre / tokens.valid_cells[:, token_levels(tokens.shapes)].astype(centre.dtype)
