"""RoIAlign against numbers worked out by hand and against an oracle that samples point by point."""

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

PATHS = [roi_align_gather, roi_align_dense]
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


@settings(max_examples=60, deadline=None)
@given(boxes=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=4, max_size=4))
@pytest.mark.parametrize("path", PATHS)
def test_any_box_equals_oracle(path, boxes):
    """Boxes outside, inverted, empty and huge, on two pictures and two levels."""
    rng = np.random.default_rng(0)
    pyramid = [rng.standard_normal((2, 64 // s, 80 // s, 3)).astype(np.float32) for s in (4, 8)]
    boxes = np.array(boxes, np.float32)
    picture = np.array([0, 1, 1, 0], np.int32)
    expected = roi_align_oracle(pyramid, boxes, picture, [4, 8], 3)
    actual = path([jnp.asarray(level) for level in pyramid], jnp.asarray(boxes), jnp.asarray(picture), [4, 8], 3)
    assert np.abs(actual - expected).max() < 1e-5


def test_paths_have_the_same_gradient_and_none_for_boxes():
    rng = np.random.default_rng(1)
    pyramid = [jnp.asarray(rng.standard_normal((2, 256 // s, 256 // s, 4)), jnp.float32) for s in (4, 8)]
    corner = rng.uniform(-30, 200, (6, 2))
    boxes = jnp.asarray(np.concatenate([corner, corner + rng.uniform(1, 200, (6, 2))], 1), jnp.float32)
    picture = jnp.array([0, 0, 0, 1, 1, 1])

    def loss(path, pyramid, boxes):
        return jnp.square(path(pyramid, boxes, picture, [4, 8], 5)).sum()

    results = [jax.grad(loss, (1, 2))(path, pyramid, boxes) for path in PATHS]
    for a, b in zip(results[0][0], results[1][0], strict=True):
        assert np.allclose(a, b, atol=1e-4)
    assert not np.any(results[0][1])
    assert not np.any(results[1][1])


def test_bfloat16_features_are_accumulated_in_float32():
    rng = np.random.default_rng(2)
    feature = jnp.asarray(rng.standard_normal((1, 16, 16, 8)), jnp.bfloat16)
    boxes = jnp.array([[3.3, 5.1, 40.2, 60.7]])
    out = roi_align([feature], boxes, FIRST, [4], 7)
    expected = roi_align([feature.astype(jnp.float32)], boxes, FIRST, [4], 7)
    assert out.dtype == jnp.bfloat16
    assert np.array_equal(out, expected.astype(jnp.bfloat16))
