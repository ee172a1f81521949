"""What distinguishes this Swin from the classification one, and its drop path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.backbones.swin import PatchMerging, Swin, SwinBlock
from querypose_jax.backbones.windows import WINDOW, shift_mask

FLOAT32 = jnp.dtype("float32")


def block(is_shifted=False, drop_rate=0.0, dtype=FLOAT32):
    return SwinBlock(8, 2, is_shifted, drop_rate, dtype, nnx.Rngs(0))


def tokens(height, width, pictures=1):
    return jax.random.normal(jax.random.key(0), (pictures, height, width, 8))


def call(module, x, key=None):
    padded = [-(-side // WINDOW) * WINDOW for side in x.shape[1:3]]
    mask = shift_mask(*padded, FLOAT32)
    return np.asarray(jax.jit(lambda x: module(x, mask, key))(x))


def changed_places(module, x, place):
    """Where the output changes when one token does: (row, column) pairs."""
    other = x.at[(0, *place)].set(x[(0, *place)][::-1])  # LayerNorm would not let a sum through
    return {tuple(p) for p in np.argwhere(np.abs(call(module, other) - call(module, x))[0].max(-1) > 1e-6).tolist()}


def test_a_token_is_seen_in_its_own_window_only():
    assert changed_places(block(), tokens(14, 14), (0, 8)) == {(y, x) for y in range(7) for x in range(7, 14)}


def test_shifted_windows_start_three_tokens_in():
    """Windows of the shifted block are rows 0-2, 3-9 and 10-13, and the mask keeps the outer two apart."""
    seen = changed_places(block(is_shifted=True), tokens(14, 14), (3, 0))
    assert seen == {(y, x) for y in range(3, 10) for x in range(3)}
    seen = changed_places(block(is_shifted=True), tokens(14, 14), (13, 13))
    assert seen == {(y, x) for y in range(10, 14) for x in range(10, 14)}


def test_the_shift_is_applied_even_where_one_window_covers_the_map():
    assert changed_places(block(is_shifted=True), tokens(7, 7), (0, 0)) == {(y, x) for y in range(3) for x in range(3)}


def test_padded_tokens_are_attended_to():
    """With zero queries every token weighs the same: of 49 values, 4 come from tokens and 45 from the bias alone."""
    module = block()
    qkv, proj = module.attention.qkv, module.attention.proj
    qkv.kernel[...] = jnp.zeros_like(qkv.kernel[...]).at[:, 16:].set(jnp.eye(8))
    qkv.bias[...] = jnp.zeros_like(qkv.bias[...]).at[16:].set(49.0)
    proj.kernel[...], proj.bias[...] = jnp.eye(8), jnp.zeros(8)
    module.attention.bias_table[...] = jnp.zeros_like(module.attention.bias_table[...])
    x = tokens(2, 2)
    attended = module.attend_windows(x, shift_mask(7, 7, FLOAT32))
    assert np.allclose(attended, 49 + np.sum(x, (1, 2), keepdims=True) / 49, atol=1e-4)


def test_merging_takes_the_phases_in_the_released_order():
    """Tokens 0..5 of a 2 x 3 map, padded with a column of zeros: 0, 3 (below), 1 (right), 4; then 2, 5, 0, 0."""
    merging = PatchMerging(1, FLOAT32, nnx.Rngs(0))
    seen = []
    merging.norm = lambda x: seen.append(x) or x
    merging(jnp.arange(6.0).reshape(1, 2, 3, 1))
    assert seen[0].tolist() == [[[[0, 3, 1, 4], [2, 5, 0, 0]]]]


def test_drop_path_leaves_out_the_two_branches_of_a_picture_independently():
    """At rate 0.5 a branch is doubled or gone, so 64 pictures show all four combinations."""
    module, one = block(drop_rate=0.5), tokens(7, 7)
    x = jnp.repeat(one, 64, 0)
    out = call(module, x, jax.random.key(1))
    distinct = np.unique(out.reshape(64, -1).round(4), axis=0)
    assert len(distinct) == 4
    untouched = np.isclose(out, x, atol=1e-6).all((1, 2, 3)).mean()
    assert 0.05 < untouched < 0.5, "a quarter of them lost both branches"


def test_rates_grow_from_zero_to_the_last_block():
    trunk = nnx.eval_shape(lambda: Swin("T", 0.2, False, FLOAT32, nnx.Rngs(0)))
    rates = [block.drop_rate for stage in trunk.stages for block in stage]
    assert np.allclose(rates, np.linspace(0, 0.2, 12))
    assert [block.is_shifted for block in trunk.stages[2]] == [False, True] * 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_statistics_and_softmax_are_at_least_float32(dtype):
    """Logits of a bfloat16 block: the program takes exponentials of float32 numbers only."""
    module = block(is_shifted=True, dtype=jnp.dtype(dtype))
    program = str(jax.make_jaxpr(lambda x: module(x, shift_mask(14, 14, FLOAT32), None))(tokens(14, 14).astype(dtype)))
    exponentials = [line.split("=")[0] for line in program.splitlines() if "= exp " in line]
    assert exponentials and all("f32[" in line for line in exponentials)


def test_initial_values_are_pytorchs_defaults_and_small_position_biases():
    """Uniform up to 1 / sqrt(fan_in) for kernels and biases; the usual truncated normal is never called."""
    module = SwinBlock(64, 8, False, 0.0, FLOAT32, nnx.Rngs(0))
    for dense, fan_in in ((module.attention.qkv, 64), (module.expand, 64), (module.contract, 256)):
        for values in (dense.kernel[...], dense.bias[...]):
            assert 0.9 * fan_in**-0.5 < np.abs(values).max() <= fan_in**-0.5
    assert np.isclose(np.std(module.attention.bias_table[...]), 0.02, rtol=0.1)
