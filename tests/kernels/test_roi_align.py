"""RoIAlign against numbers worked out by hand and against an oracle that samples point by point."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.roi_align import roi_align
from kernels.roi_align.dense import roi_align_dense
from kernels.roi_align.gather import roi_align_gather
from kernels.roi_align.oracle import roi_align_oracle
from kernels.roi_align.sampling import AxisTaps, merge_taps
from kernels.roi_align.triton import roi_align_triton

PATHS = [
    roi_align_gather,
    roi_align_dense,
    pytest.param(partial(roi_align_triton, interpret=True), id="triton_interpreted"),
]
FIRST = jnp.zeros(1, jnp.int32)


@pytest.mark.parametrize("path", PATHS)
def test_ramp_gives_cell_centres(path):
    """On f(y, x) = 10 y + x the mean of a cell's symmetric samples is the value at its centre.

    Box (1, 1, 4, 3) on a 5x5 map of stride 1, 2x2 cells: in map units x from 0.5 to 3.5, y from 0.5 to 2.5, so
    centres at x = 1.25, 2.75 and y = 1, 2.
    """
    ramp = 10 * jnp.arange(5.0)[:, None] + jnp.arange(5.0)
    out = path([ramp[None, :, :, None]], jnp.array([[1.0, 1, 4, 3]]), FIRST, [1], 2)
    assert np.allclose(out[0, :, :, 0], [[11.25, 12.75], [21.25, 22.75]])


@pytest.mark.parametrize("path", PATHS)
def test_samples_beyond_one_pixel_count_as_zero(path):
    """Ones on a 5x5 map; box x from -3.5 to 4.5 in pixels, one cell: samples at -2 (zero) and 2 (one), so half."""
    ones = jnp.ones((1, 5, 5, 1))
    out = path([ones], jnp.array([[-3.5, 0.5, 4.5, 4.5]]), FIRST, [1], 1)
    assert np.allclose(out, 0.5)


@pytest.mark.parametrize("path", PATHS)
def test_level_follows_box_size(path):
    """Maps hold their level's number; sides of 111, 112, 224 and 448 pixels come from P2, P3, P4, P5."""
    pyramid = [jnp.full((1, 1024 // s, 1024 // s, 1), float(level)) for level, s in enumerate((4, 8, 16, 32), 2)]
    boxes = jnp.array([[100.0, 100, 100 + side, 100 + side] for side in (111, 112, 224, 448)])
    out = path(pyramid, boxes, jnp.zeros(4, jnp.int32), (4, 8, 16, 32), 7)
    assert np.allclose(out[:, 3, 3, 0], [2, 3, 4, 5])


coordinate = st.one_of(st.floats(-60, 200, width=32), st.sampled_from([0.0, -4.0, 64.0, 68.0, 1e6, -1e6]))


STRIDES, CELLS, PICTURE = (4, 8), 3, np.array([0, 1, 1, 0], np.int32)


@partial(jax.jit, static_argnums=0)
def pool_and_pull_back(path, pyramid, boxes, cotangent):
    """Pooled features of four boxes, and the gradients of pyramid and boxes."""
    pooled, pull = jax.vjp(
        lambda pyramid, boxes: path(pyramid, boxes, jnp.asarray(PICTURE), STRIDES, CELLS), pyramid, boxes
    )
    return pooled, *pull(cotangent)


def oracle_gradients(pyramid, boxes, cotangent):
    """Pooling a map whose channels are its positions gives the weight of every position in every cell."""
    areas = [level.shape[1] * level.shape[2] for level in pyramid]
    positions = np.split(np.eye(sum(areas)), np.cumsum(areas)[:-1])
    maps = [np.stack([p.reshape(*level.shape[1:3], -1)] * 2) for p, level in zip(positions, pyramid, strict=True)]
    weights = roi_align_oracle(maps, boxes, PICTURE, STRIDES, CELLS)
    of_picture = np.eye(2)[PICTURE]
    gradients = np.split(np.einsum("qp,qijn,qijc->pnc", of_picture, weights, cotangent), np.cumsum(areas)[:-1], 1)
    return [gradient.reshape(level.shape) for gradient, level in zip(gradients, pyramid, strict=True)]


@settings(max_examples=40, deadline=None)
@given(boxes=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=4, max_size=4))
@pytest.mark.parametrize("path", PATHS)
def test_any_box_equals_oracle_forward_and_backward(path, boxes):
    """Boxes outside, inverted, empty and huge, on two pictures and two levels of odd size; no gradient for boxes."""
    rng = np.random.default_rng(0)
    pyramid = [rng.standard_normal((2, 60 // s, 84 // s, 3)).astype(np.float32) for s in STRIDES]
    cotangent = rng.standard_normal((4, CELLS, CELLS, 3)).astype(np.float32)
    boxes = np.array(boxes, np.float32)
    pooled, gradients, of_boxes = pool_and_pull_back(path, pyramid, boxes, cotangent)
    assert np.abs(pooled - roi_align_oracle(pyramid, boxes, PICTURE, STRIDES, CELLS)).max() < 1e-5
    for actual, expected in zip(gradients, oracle_gradients(pyramid, boxes, cotangent), strict=True):
        assert np.abs(actual - expected).max() < 1e-5
    assert not np.any(of_boxes)


def test_bfloat16_features_are_accumulated_in_float32():
    rng = np.random.default_rng(2)
    feature = jnp.asarray(rng.standard_normal((1, 16, 16, 8)), jnp.bfloat16)
    boxes = jnp.array([[3.3, 5.1, 40.2, 60.7]])
    out = roi_align([feature], boxes, FIRST, [4], 7)
    expected = roi_align([feature.astype(jnp.float32)], boxes, FIRST, [4], 7)
    assert out.dtype == jnp.bfloat16
    assert np.array_equal(out, expected.astype(jnp.bfloat16))


def test_merged_taps_keep_their_weight_on_one_tap_for_each_position():
    taps = AxisTaps(
        jnp.array([[[4, 5, 4, 5], [7, 8, 8, 9]]]), jnp.array([[[0.1, 0.4, 0.2, 0.3], [0.5, 0, 0.25, 0.25]]])
    )
    merged = merge_taps(taps)
    assert np.allclose(merged.weight, [[[0.3, 0.7, 0, 0], [0.5, 0.25, 0, 0.25]]])
    assert np.array_equal(merged.position, taps.position)


def lowered(path: str, platform: str, dtype=jnp.float32) -> str:
    """The program of a forward and backward pass on a large map, as one platform gets it, from a machine without it."""
    pyramid = [jnp.zeros((2, 240, 320, 256), dtype), jnp.zeros((2, 120, 160, 256), dtype)]
    boxes = jnp.zeros((2, 5, 4))

    def pool_picture(levels, boxes):
        levels = [level[None] for level in levels]
        return roi_align(levels, boxes, jnp.zeros(5, jnp.int32), STRIDES, 7, path)

    def loss(pyramid):
        return jax.vmap(pool_picture)(pyramid, boxes).astype(jnp.float32).sum()

    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)  # jax 0.12 asks which GPU a kernel is for
    with jax.sharding.use_abstract_mesh(mesh):
        return jax.jit(jax.value_and_grad(loss)).trace(pyramid).lower(lowering_platforms=(platform,)).as_text()


def test_auto_gathers_on_cpu_and_cuda_and_multiplies_on_tpu():
    for platform in ("cpu", "cuda"):
        assert "stablehlo.scatter" in lowered("auto", platform)
    assert "stablehlo.scatter" not in lowered("auto", "tpu")
    assert "stablehlo.dot_general" in lowered("auto", "tpu")


@pytest.mark.filterwarnings(
    "ignore:The Pallas Triton backend is deprecated:DeprecationWarning"
)  # see docs/benchmarks.md
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_kernel_lowers_for_cuda_forward_and_backward(dtype):
    program = lowered("triton", "cuda", dtype)
    assert program.count("__gpu$xla.gpu.triton") == 2
    assert "stablehlo.scatter" not in program


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
def test_gradients_are_xlas_where_determinism_is_asked_for(monkeypatch):
    """The scatter stands for the kernel's atomics in the program for CUDA, and gives the same numbers."""
    rng = np.random.default_rng(5)
    pyramid = [rng.standard_normal((2, 15, 21, 4)).astype(np.float32), rng.standard_normal((2, 7, 10, 4), np.float32)]
    boxes = np.array([[3, 5, 40, 50], [-9, -9, 300, 200], [1, 1, 150, 160], [60, 9, 70, 19]], np.float32)
    cotangent = rng.standard_normal((4, CELLS, CELLS, 4)).astype(np.float32)
    by_kernel = pool_and_pull_back(partial(roi_align_triton, interpret=True), pyramid, boxes, cotangent)[1]
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    by_scatter = pool_and_pull_back(partial(roi_align_triton, interpret=True), pyramid, boxes, cotangent)[1]
    for actual, expected in zip(by_scatter, by_kernel, strict=True):
        assert np.abs(actual - expected).max() < 1e-5
    program = lowered("triton", "cuda")
    assert program.count("__gpu$xla.gpu.triton") == 1
    assert "stablehlo.scatter" in program


def test_the_kernel_gives_way_where_there_is_no_cuda():
    program = lowered("triton", "cpu")
    assert "triton" not in program
    assert "stablehlo.scatter" in program
