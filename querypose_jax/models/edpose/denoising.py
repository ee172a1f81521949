"""Denoising queries of training (section 8): noisy copies of the people, which the decoder has to put right."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict

from querypose_jax.models.deformable.encodings import logit
from querypose_jax.models.deformable.proposals import take
from querypose_jax.models.deformable.targets import Targets

NOBODY = -1  # the person that a query copies in a picture without people


class Noise(NamedTuple):
    """Everything random of one training step."""

    person: Int[Array, "B D"]
    """Which person of the picture a query copies, or NOBODY."""
    label_draw: Float[Array, "B D"]
    """Uniform in [0, 1): below `label_noise` the label is replaced."""
    new_label: Int[Array, "B D"]
    box_draw: Float[Array, "B D 4"]
    """Uniform in (-1, 1): how far a box moves."""
    empty_boxes: Float[Array, "B D 4"]
    """Uniform in [0, 1): cx, cy, w, h where there is nobody to copy."""


class DenoisingQueries(NamedTuple):
    """What the decoder starts from, what should come out, and which queries see each other."""

    content: Float[Array, "B D C"]
    boxes: Float[Array, "B D 4"]
    column: Int[Array, "B D"]
    """Of the person's class in the class logits; one beyond the last for nobody."""
    target: Float[Array, "B D 4"]
    own_block: Bool[Array, "B D D"]


def draw_noise(key: Key[Array, ""], people: Int[Array, " B"], config: ConfigDict) -> Noise:
    """Draws for pictures with so many people; `config` is config.model.denoising.

    All people in turn as often as they fit, the queries left over copy people drawn at random. Draws are over the
    pictures of the global batch, so they do not depend on how these lie on devices; in float32 for any model, so that
    two models see the same noise.
    """
    keys, shape = jax.random.split(key, 5), (len(people), config.queries)
    count = jnp.maximum(people, 1)[:, None]
    row = jnp.arange(config.queries)
    in_turn = row < config.queries // count * count
    person = jnp.where(in_turn, row % count, jax.random.randint(keys[0], shape, 0, count))
    return Noise(
        person=jnp.where(people[:, None] > 0, person, NOBODY),
        label_draw=jax.random.uniform(keys[1], shape, jnp.float32),
        new_label=jax.random.randint(keys[2], shape, 0, config.labels),
        box_draw=jax.random.uniform(keys[3], (*shape, 4), jnp.float32, -1, 1),
        empty_boxes=jax.random.uniform(keys[4], (*shape, 4), jnp.float32),
    )


def denoising_queries(
    noise: Noise, targets: Targets, labels: Float[Array, "labels C"], columns: int, config: ConfigDict
) -> DenoisingQueries:
    """Noisy copies of people.

    A label is a column of the class logits; one that is replaced may become any row of the table but the last. A box
    moves by at most `box_noise` of half its sides, its sides by as much of themselves.

    Args:
        noise: what was drawn.
        targets: the people.
        labels: table of label embeddings.
        columns: of the class logits.
        config: config.model.denoising.
    """
    dtype = targets.boxes.dtype
    is_copy, person = noise.person != NOBODY, jnp.maximum(noise.person, 0)
    target = jnp.where(is_copy[..., None], take(targets.boxes, person), noise.empty_boxes.astype(dtype))
    column = jnp.where(is_copy, take(targets.column, person), columns)
    label = jnp.where(noise.label_draw < config.label_noise, noise.new_label, column)
    reach = config.box_noise * jnp.concatenate([target[..., 2:] / 2, target[..., 2:]], -1)
    boxes = jax.nn.sigmoid(logit(target + noise.box_draw.astype(dtype) * reach))
    return DenoisingQueries(labels[label], boxes, column, target, own_blocks(targets, noise.person.shape[1]))


def own_blocks(targets: Targets, queries: int) -> Bool[Array, "B {queries} {queries}"]:
    """Blocks of as many queries as the picture has people; in one without people everybody sees everybody."""
    people = targets.is_person.sum(-1)[:, None]
    block = jnp.arange(queries) // jnp.maximum(people, queries * (people == 0))
    return block[:, :, None] == block[:, None, :]
