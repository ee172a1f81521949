"""What only the TPU kernel of deformable attention does: blocks, tiles, windows, and going through a TPU's compiler.

That it computes what the oracle computes is tested with the other paths, in test_deformable_attention.py.
"""

import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from kernels.choice import programs_for
from kernels.deformable_attention import deformable_attention
from kernels.deformable_attention.blocks import Layout, from_tiles, query_order, to_tiles
from kernels.deformable_attention.gather import deformable_attention_gather
from kernels.deformable_attention.tpu import deformable_attention_tpu, fits
from querypose_jax.planning.plan import topology_devices

SHAPES = ((7, 9), (3, 4))
TOKENS = 75
attend = jax.jit(deformable_attention_tpu, static_argnums=(3, 4))
gather = partial(deformable_attention_gather, at_a_time=64)
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def layout(**changes) -> Layout:
    """Blocks and tiles of eight, three tiles a program."""
    return Layout(SHAPES, rows=2, columns=4, tile=8, tiles=3, interpret=True)._replace(**changes)


def arrays(queries: int, dim: int = 3):
    """Values, locations around and beyond the maps, weights, a cotangent; two pictures, two heads, three points."""
    rng = np.random.default_rng(0)
    samples = (2, queries, 2, len(SHAPES), 3)
    drawn = (
        rng.standard_normal((2, TOKENS, 2, dim)),
        rng.uniform(-0.3, 1.3, (*samples, 2)),
        rng.random(samples),
        rng.standard_normal((2, queries, 2 * dim)),
    )
    return [jnp.asarray(x, jnp.float32) for x in drawn]


@pytest.mark.parametrize("queries", [TOKENS, 11], ids=["encoder", "decoder"])
def test_sums_and_gradients_equal_those_of_the_gather(queries):
    """An encoder's queries lie in blocks as the tokens do, others are sorted; both on blocks that do not fill maps."""
    *operands, cotangent = arrays(queries)
    out, pull = jax.vjp(jax.jit(partial(deformable_attention_tpu, shapes=SHAPES, layout=layout())), *operands)
    expected, expected_pull = jax.vjp(jax.jit(partial(gather, shapes=SHAPES)), *operands)
    assert np.allclose(out, expected, atol=1e-6)
    for actual, gradient in zip(pull(cotangent), expected_pull(cotangent), strict=True):
        assert np.allclose(actual, gradient, atol=1e-5)


def test_an_encoder_of_tiles_unlike_blocks_takes_queries_as_they_come():
    *operands, _ = arrays(TOKENS)
    out = attend(*operands, SHAPES, layout(tile=5))
    assert np.allclose(out, gather(*operands, SHAPES), atol=1e-6)


@pytest.mark.parametrize("queries", [TOKENS, 11])
def test_tiles_hold_every_query_once(queries):
    x, locations = jnp.arange(2.0 * queries).reshape(2, queries, 1), arrays(queries)[1]
    order = query_order(locations, layout())
    tiles = to_tiles(x, order, layout(), fill=-1)
    assert tiles.shape[1] % layout().tiles == 0
    assert np.array_equal(np.sort(tiles[tiles >= 0]), np.arange(2.0 * queries))
    assert np.array_equal(from_tiles(tiles, order, queries, layout()), x)


def test_neighbours_share_a_tile():
    """Queries that look at the four corners in turn are sorted corner by corner."""
    corners = jnp.array([(0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)])
    locations = jnp.broadcast_to(jnp.tile(corners, (8, 1))[None, :, None, None, None], (1, 32, 2, 2, 3, 2))
    (order,) = query_order(locations, layout())
    assert np.array_equal(np.asarray(order) % 4, np.repeat(np.arange(4), 8))


def test_blocks_that_no_sample_of_a_tile_reads_are_not_touched():
    """What is not finite in the last rows would spoil every sum that multiplies it, be it with zero."""
    values, locations, weights, _ = arrays(8)
    locations = jnp.clip(locations, 0, 0.2)
    # Samples of the first map reach down to row 0.2 * 7 - 0.5; rows 5 and 6 are not finite.
    values = values.at[:, 5 * 9 : 7 * 9].set(jnp.nan)
    assert np.isfinite(attend(values, locations, weights, SHAPES, layout())).all()
    assert np.isnan(attend(values, locations, weights, SHAPES, layout(rows=8))).any()


@pytest.mark.slow
def test_works_inside_shard_map_forward_and_backward():
    *operands, cotangent = arrays(11)

    def gradients(values, locations, weights, cotangent):
        out, pull = jax.vjp(lambda *x: deformable_attention_tpu(*x, SHAPES, layout()), values, locations, weights)
        return out, *pull(cotangent)

    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    data = PartitionSpec("data")
    sharded = jax.shard_map(gradients, mesh=mesh, in_specs=data, out_specs=data, check_vma=False)
    for actual, expected in zip(jax.jit(sharded)(*operands, cotangent), gradients(*operands, cotangent), strict=True):
        assert np.allclose(actual, expected, atol=1e-6)


def test_maps_that_do_not_fit_on_a_chip_are_left_to_the_gather():
    """The released sizes fit in both types; one map of 800 x 1344 cells does not."""
    for dtype in (jnp.float32, jnp.bfloat16):
        released = ((100, 168), (50, 84), (25, 42), (13, 21))
        assert fits(32, jnp.dtype(dtype), released)
        assert not fits(32, jnp.dtype(dtype), ((800, 1344),))


def loss_and_gradients(path: str, shapes):
    """Of the sum of all sums."""

    def loss(values, locations, weights):
        return deformable_attention(values, shapes, locations, weights, path).astype(jnp.float32).sum()

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))


def abstract(pictures: int, queries: int, dtype=jnp.bfloat16, sharding=None):
    samples = (pictures, queries, 2, len(SHAPES), 4)
    shapes = ((pictures, TOKENS, 2, 16), dtype), ((*samples, 2), jnp.float32), (samples, jnp.float32)
    return [jax.ShapeDtypeStruct(*shape, sharding=sharding) for shape in shapes]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_kernel_lowers_for_tpus_forward_and_backward_and_scatters_nothing(dtype):
    traced = loss_and_gradients("tpu", SHAPES).trace(*abstract(1, 11, dtype))
    program = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert program.count("@tpu_custom_call") == 2
    assert "stablehlo.scatter" not in program
    assert "tpu_custom_call" not in traced.lower(lowering_platforms=("cpu",)).as_text()


def test_auto_takes_the_kernel_in_a_process_with_tpus(monkeypatch):
    def program() -> str:
        return loss_and_gradients("auto", SHAPES).trace(*abstract(1, 11)).lower(lowering_platforms=("tpu",)).as_text()

    assert "tpu_custom_call" not in program()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert program().count("@tpu_custom_call") == 2


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("chip", ["v5e", "v6e"])
@pytest.mark.parametrize("queries", [TOKENS, 11], ids=["encoder", "decoder"])
def test_the_tpu_compiler_takes_it_and_every_chip_keeps_to_its_pictures(chip, queries):
    """Four chips, a picture each: kernels, and no messages."""
    mesh = jax.sharding.Mesh(topology_devices(f"{chip}:2x2"), ("data",))
    place = jax.sharding.NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh), programs_for(mesh.devices.flat[0].device_kind):
        both = loss_and_gradients("auto", SHAPES)
        gradients = jax.jit(lambda *operands: both(*operands)[1], out_shardings=place)
        lowered = gradients.lower(*abstract(4, queries, sharding=place))
        text = lowered.compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') >= 1
    assert not [name for name in ("all-gather", "all-to-all", "collective-permute") if name in text]
