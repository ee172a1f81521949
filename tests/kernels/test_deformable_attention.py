"""Deformable attention against numbers worked out by hand and against an oracle that samples point by point."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from kernels.deformable_attention import deformable_attention
from kernels.deformable_attention.blocks import Layout
from kernels.deformable_attention.gather import deformable_attention_gather
from kernels.deformable_attention.oracle import deformable_attention_oracle
from kernels.deformable_attention.tpu import deformable_attention_tpu
from kernels.deformable_attention.triton import Tile, deformable_attention_triton


def interpreted(values, shapes, locations, weights):
    """The CUDA kernel, two queries a program, so that the last has one to spare, as points and channels have."""
    tile = Tile(2, 1)
    return deformable_attention_triton(values, locations, weights, shapes, tile, tile, interpret=True)


def on_blocks(values, shapes, locations, weights):
    """The TPU kernel on blocks of 2 x 2 cells, two tiles of two queries a program: nothing divides evenly."""
    layout = Layout(tuple(shapes), rows=2, columns=2, tile=2, tiles=2, interpret=True)
    return deformable_attention_tpu(values, locations, weights, shapes, layout)


PATHS = [
    pytest.param(partial(deformable_attention, path="gather"), id="gather"),
    pytest.param(interpreted, id="triton_interpreted"),
    pytest.param(on_blocks, id="tpu_interpreted"),
]


def one_map(values, places):
    """Samples of one map [h, w] of one channel at places (x, y) in [0, 1], one query and point each, weight 1."""
    values = jnp.asarray(values, jnp.float32)
    locations = jnp.asarray(places, jnp.float32).reshape(1, -1, 1, 1, 1, 2)
    tokens = values.reshape(1, -1, 1, 1)
    return deformable_attention(tokens, [values.shape], locations, jnp.ones(locations.shape[:-1]))[0, :, 0]


def test_ramp_gives_the_position():
    """f(y, x) = 10 y + x on 4 x 5 cells is 10 y + x also between them; (x, y) is ((x + 0.5) / 5, (y + 0.5) / 4)."""
    ramp = 10 * np.arange(4.0)[:, None] + np.arange(5.0)
    cells = np.array([(0, 0), (4, 3), (1.25, 2.5), (3.75, 0.125)])
    assert np.allclose(one_map(ramp, (cells + 0.5) / (5, 4)), [0, 34, 26.25, 5], atol=1e-5)


def test_cells_off_the_map_count_as_zero():
    """Ones on a 2 x 2 map: its corner reads one cell in four, the middle of a side two, half a cell outside nothing."""
    assert np.allclose(
        one_map(np.ones((2, 2)), [(0, 0), (0.5, 0), (1, 0.5), (-0.25, 0.5), (0.5, 1.25)]), [0.25, 0.5, 0.5, 0, 0]
    )


def test_a_map_of_one_cell_is_a_tent():
    assert np.allclose(one_map([[8.0]], [(0.5, 0.5), (0.25, 0.5), (0.25, 0.75), (1.5, 0.5)]), [8, 6, 4.5, 0])


def test_levels_points_and_heads_each_take_their_own():
    """Two levels of one cell hold 1 and 10 for head 0, 100 and 1000 for head 1; all points lie on the cells."""
    values = jnp.array([[1.0, 100.0], [10.0, 1000.0]])[None, ..., None]
    weights = jnp.arange(1.0, 9).reshape(1, 1, 2, 2, 2)  # head, level, point
    out = deformable_attention(values, [(1, 1), (1, 1)], jnp.full((1, 1, 2, 2, 2, 2), 0.5), weights)
    assert np.allclose(out, [[[(1 + 2) + 10 * (3 + 4), 100 * (5 + 6) + 1000 * (7 + 8)]]])


SHAPES, QUERIES, HEADS, POINTS, DIM = ((3, 4), (2, 2), (1, 1)), 3, 2, 3, 3
LOCATIONS = (2, QUERIES, HEADS, len(SHAPES), POINTS, 2)
coordinate = st.one_of(
    st.floats(-0.5, 1.5, width=32), st.sampled_from([0.0, 0.5, 1.0, -0.125, 0.125, 1.25, -1e6, 1e6, 3e38, -3e38])
)


@partial(jax.jit, static_argnums=0)
def attend_and_pull_back(path, values, locations, weights, cotangent):
    """The sums, and the gradients of values, locations and weights."""
    out, pull = jax.vjp(lambda *operands: path(operands[0], SHAPES, *operands[1:]), values, locations, weights)
    return out, *pull(cotangent)


def operands(seed: int = 0):
    """Values, weights and a cotangent for LOCATIONS."""
    rng = np.random.default_rng(seed)
    tokens = sum(height * width for height, width in SHAPES)
    shapes = (2, tokens, HEADS, DIM), LOCATIONS[:-1], (2, QUERIES, HEADS * DIM)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@settings(max_examples=40, deadline=None)
@given(places=st.lists(coordinate, min_size=16, max_size=16))
@pytest.mark.parametrize("path", PATHS)
def test_any_place_equals_oracle_and_has_finite_gradients(path, places):
    """Samples outside, on borders and on centres; the sums are linear in values and weights, so their gradients are
    sums of the oracle's too."""
    values, weights, cotangent = operands()
    locations = np.resize(np.array(places, np.float32), LOCATIONS)
    out, *gradients = attend_and_pull_back(path, values, locations, weights, cotangent)
    expected = deformable_attention_oracle(values, SHAPES, locations, weights)
    assert np.abs(out - expected).max() < 1e-5
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    dvalues, _, dweights = gradients
    total = (expected * cotangent).sum()
    assert np.isclose((dvalues * values).sum(), total, atol=1e-4)
    assert np.isclose((dweights * weights).sum(), total, atol=1e-4)


@pytest.mark.parametrize("path", PATHS)
def test_gradients_equal_differences_of_the_oracle(path):
    """Central differences in float64, away from the centres of cells, where the sums have kinks."""
    with jax.enable_x64(True):
        values, weights, cotangent = (x.astype(np.float64) for x in operands(1))
        locations = np.random.default_rng(2).uniform(-0.2, 1.2, LOCATIONS)
        _, *gradients = attend_and_pull_back(path, values, locations, weights, cotangent)
    arrays = [values, locations, weights]
    rng = np.random.default_rng(3)
    for which, gradient in enumerate(gradients):
        for _ in range(20):
            place = tuple(rng.integers(size) for size in gradient.shape)
            sides = []
            for step in (1e-6, -1e-6):
                moved = [x.copy() for x in arrays]
                moved[which][place] += step
                sides.append((deformable_attention_oracle(moved[0], SHAPES, *moved[1:]) * cotangent).sum())
            assert np.isclose(gradient[place], (sides[0] - sides[1]) / 2e-6, rtol=1e-5, atol=1e-6)


def test_chunks_of_queries_change_nothing():
    values, weights, cotangent = operands()
    locations = np.random.default_rng(2).uniform(-0.2, 1.2, LOCATIONS).astype(np.float32)

    def by(number):
        def path(values, shapes, locations, weights):
            return deformable_attention_gather(values, locations, weights, shapes, at_a_time=number)

        return attend_and_pull_back(path, values, locations, weights, cotangent)

    for whole, parts in zip(by(QUERIES), by(2), strict=True):
        assert np.allclose(whole, parts, atol=1e-6)


def lowered(path: str, platform: str, dtype=jnp.float32) -> str:
    """The program of a forward and backward pass, as one platform gets it, from a machine without it."""

    def loss(values, locations, weights):
        return deformable_attention(values, ((100, 136), (50, 68)), locations, weights, path).astype(jnp.float32).sum()

    arrays = [
        jax.ShapeDtypeStruct((2, 17000, 8, 32), dtype),
        *(jax.ShapeDtypeStruct((2, 1800, 8, 2, 4, *end), jnp.float32) for end in ((2,), ())),
    ]
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)  # jax 0.12 asks which GPU a kernel is for
    with jax.sharding.use_abstract_mesh(mesh):
        traced = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).trace(*arrays)
        return traced.lower(lowering_platforms=(platform,)).as_text()


WARNING = "ignore:The Pallas Triton backend is deprecated:DeprecationWarning"  # see docs/benchmarks.md


@pytest.mark.filterwarnings(WARNING)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_kernel_lowers_for_cuda_forward_and_backward(dtype):
    program = lowered("triton", "cuda", dtype)
    assert program.count("__gpu$xla.gpu.triton") == 2
    assert "stablehlo.scatter" not in program


@pytest.mark.filterwarnings(WARNING)
def test_the_kernel_lowers_for_cuda_where_determinism_is_asked_for(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    program = lowered("triton", "cuda")
    assert program.count("__gpu$xla.gpu.triton") == 2
    assert "stablehlo.scatter" not in program


@pytest.mark.slow
def test_deterministic_gradients_are_the_same_numbers(monkeypatch):
    values, weights, cotangent = operands()
    locations = np.random.default_rng(2).uniform(-0.2, 1.2, LOCATIONS).astype(np.float32)

    def pulled():
        return attend_and_pull_back(lambda *x: interpreted(*x), values, locations, weights, cotangent)

    expected = pulled()
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    for actual, usual in zip(pulled(), expected, strict=True):
        assert np.allclose(actual, usual, atol=1e-6)


@pytest.mark.filterwarnings(WARNING)
def test_auto_takes_the_kernel_in_a_process_with_a_gpu(monkeypatch):
    assert "triton" not in lowered("auto", "cuda")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert lowered("auto", "cuda").count("__gpu$xla.gpu.triton") == 2


def test_the_kernel_gives_way_where_there_is_no_cuda():
    program = lowered("triton", "cpu")
    assert "triton" not in program
    assert "stablehlo.scatter" in program


@pytest.mark.parametrize("path", PATHS)
def test_bfloat16_values_are_summed_in_float32(path):
    """Locations and weights stay float32: the sums of rounded values, rounded once."""
    values, weights, _ = operands()
    locations = np.random.default_rng(2).uniform(-0.2, 1.2, LOCATIONS).astype(np.float32)
    rounded, locations, weights = jnp.asarray(values, jnp.bfloat16), jnp.asarray(locations), jnp.asarray(weights)
    out = path(rounded, SHAPES, locations, weights)
    expected = path(rounded.astype(jnp.float32), SHAPES, locations, weights)
    assert out.dtype == jnp.bfloat16
    assert np.array_equal(out, expected.astype(jnp.bfloat16))
    text = str(jax.make_jaxpr(lambda *x: path(x[0], SHAPES, *x[1:]))(rounded, locations, weights))
    assert all("f32[" in line for line in text.splitlines() if "= floor " in line)


def test_works_inside_shard_map_forward_and_backward():
    values, weights, cotangent = operands()
    locations = np.random.default_rng(2).uniform(-0.2, 1.2, LOCATIONS).astype(np.float32)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    pull = partial(attend_and_pull_back, deformable_attention)
    sharded = jax.shard_map(pull, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data"))
    arrays = values, locations, weights, cotangent
    for actual, expected in zip(jax.jit(sharded)(*arrays), pull(*arrays), strict=True):
        assert np.allclose(actual, expected, atol=1e-6)


def test_no_temporary_holds_all_samples():
    """Forward and backward of 4096 queries: far less than their 2x2 patches of all points at once, in any one array."""
    queries, shapes = 4096, ((8, 8), (4, 4))
    tokens = 80

    def gradients(values, locations, weights):
        return jax.grad(lambda *x: deformable_attention(x[0], shapes, *x[1:], path="gather").sum(), (0, 1, 2))(
            values, locations, weights
        )

    arrays = [(1, tokens, 4, 16), (1, queries, 4, 2, 4, 2), (1, queries, 4, 2, 4)]
    compiled = jax.jit(gradients).lower(*[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in arrays]).compile()
    all_patches = queries * 4 * 2 * 4 * 4 * 16 * 4  # bytes
    assert compiled.memory_analysis().temp_size_in_bytes < all_patches / 4
