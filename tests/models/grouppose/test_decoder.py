"""The decoder's layer: positions stay in the queries, attention goes within and across instances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.models.deformable.tokens import Tokens
from querypose_jax.models.grouppose.decoder import DecoderLayer, add_position, joint_positions, on_maps, with_centre

WIDTH, INSTANCES, JOINTS = 8, 3, 2
TOKENS = Tokens(
    features=jnp.zeros((1, 6, WIDTH)),
    position=jnp.zeros((1, 6, WIDTH)),
    is_valid=jnp.ones((1, 6), bool),
    valid_cells=jnp.array([[[3, 2]]]),
    shapes=((2, 3),),
)


@pytest.fixture(scope="module")
def layer():
    return DecoderLayer(WIDTH, 2, 1, 2, 16, jnp.dtype("float32"), nnx.Rngs(0))


@pytest.fixture(scope="module")
def operands():
    """Queries, positions, references and memory of one picture."""
    keys = jax.random.split(jax.random.key(0), 4)
    queries = jax.random.normal(keys[0], (1, INSTANCES, JOINTS + 1, WIDTH))
    position = jax.random.normal(keys[1], (1, INSTANCES, JOINTS, WIDTH))
    references = with_centre(jax.random.uniform(keys[2], (1, INSTANCES, JOINTS, 2)))
    return queries, position, on_maps(references, TOKENS), jax.random.normal(keys[3], (1, 6, WIDTH))


def test_positions_are_added_to_joints_only():
    added = add_position(jnp.zeros((1, 1, 3, 2)), jnp.ones((1, 1, 2, 2)))
    assert added[0, 0].tolist() == [[0, 0], [1, 1], [1, 1]]


def test_the_second_addition_stays_in_the_queries(layer, operands):
    """With both attentions switched off, what asks the maps is the normed queries plus the position."""
    queries, position, *_ = operands
    off = nnx.clone(layer)
    for attention in (off.within_attention, off.across_attention):
        attention.out_proj.kernel[...] = jnp.zeros_like(attention.out_proj.kernel[...])
    normed = off.across_norm(off.within_norm(queries))
    assert np.allclose(off.between_queries(queries, position), add_position(normed, position), atol=1e-6)


def test_permuting_instances_permutes_results(layer, operands):
    queries, position, references, memory = operands
    order = jnp.array([2, 0, 1])
    out = layer(queries, position, references, memory, TOKENS)
    permuted = layer(queries[:, order], position[:, order], references[:, order], memory, TOKENS)
    assert np.allclose(permuted, out[:, order], atol=1e-5)


def test_across_instances_a_slot_sees_the_same_slot_of_the_others(layer, operands):
    """Within-attention switched off: changing joint 1 of instance 0 changes joint 1 of the others and nothing else."""
    queries, position, *_ = operands
    off = nnx.clone(layer)
    off.within_attention.out_proj.kernel[...] = jnp.zeros((WIDTH, WIDTH))
    changed = queries.at[0, 0, 1].set(queries[0, 0, 1, ::-1])
    difference = np.abs(off.between_queries(changed, position) - off.between_queries(queries, position))[0].max(-1)
    assert np.array_equal(difference > 1e-6, [[False, True, False]] * INSTANCES)


def test_within_an_instance_all_slots_see_each_other(layer, operands):
    """Across-attention switched off: the change stays in its instance and reaches all of its slots."""
    queries, position, *_ = operands
    off = nnx.clone(layer)
    off.across_attention.out_proj.kernel[...] = jnp.zeros((WIDTH, WIDTH))
    changed = queries.at[0, 0, 1].set(queries[0, 0, 1, ::-1])
    difference = np.abs(off.between_queries(changed, position) - off.between_queries(queries, position))[0].max(-1)
    assert np.array_equal(difference > 1e-6, [[True] * 3, [False] * 3, [False] * 3])


def test_positions_come_from_the_joints_places_on_the_first_map(operands):
    """The encoding of (y, x) of each joint, y first; the centre is not encoded."""
    references = operands[2]
    seen = joint_positions(lambda features: features, references, WIDTH)
    assert seen.shape == (1, INSTANCES, JOINTS, WIDTH)
    y, x = references[:, :, 1:, 0, 1], references[:, :, 1:, 0, 0]
    assert np.allclose(seen[..., 0], np.sin(2 * np.pi * y), atol=1e-6)
    assert np.allclose(seen[..., WIDTH // 2], np.sin(2 * np.pi * x), atol=1e-6)
