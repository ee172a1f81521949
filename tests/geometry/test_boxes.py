"""Boxes: deltas and overlap, on numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from querypose_jax.geometry.boxes import MAX_LOG_GROWTH, apply_deltas, area, from_cxcywh, giou, picture_scale

# name: (a, b, GIoU = intersection / union - (hull - union) / hull)
OVERLAPS = {
    "identical": ((0, 0, 4, 2), (0, 0, 4, 2), 1.0),
    "disjoint": ((0, 0, 2, 2), (4, 0, 6, 2), -4 / 12),  # union 8, hull 6 x 2
    "nested": ((0, 0, 4, 4), (1, 1, 3, 3), 4 / 16),  # union = hull
    "touching": ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),  # no intersection, union = hull
    "crossing": ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7 - 2 / 9),  # union 4 + 4 - 1, hull 3 x 3
    "point inside": ((1, 1, 1, 1), (0, 0, 2, 2), 0.0),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_giou_of(name):
    a, b, expected = OVERLAPS[name]
    a, b = jnp.array(a, jnp.float32), jnp.array(b, jnp.float32)
    assert np.isclose(giou(a, b), expected, atol=1e-6)
    assert np.isclose(giou(b, a), expected, atol=1e-6), "symmetric"


def test_giou_gradients_are_finite_and_reach_disjoint_boxes():
    """Disjoint, with the left box reaching from l = 0 to r = 2: GIoU = (4 + 2 (r - l)) / (2 (6 - l)) - 1, so its
    derivative is 2 / 12 in r and (-2 * 12 + 2 * 8) / 144 in l."""
    a, b, _ = (jnp.array(column, jnp.float32) for column in zip(*OVERLAPS.values(), strict=True))
    gradient = dict(zip(OVERLAPS, jax.jit(jax.grad(lambda a: giou(a, b).sum()))(a), strict=True))
    assert all(np.isfinite(row).all() for row in gradient.values())
    left, _, right, _ = gradient["disjoint"]
    assert np.isclose(right, 2 / 12)
    assert np.isclose(left, -8 / 144)


def test_giou_pairs_every_box_of_one_set_with_every_box_of_the_other():
    a = jnp.array([[0.0, 0, 2, 2], [1, 1, 3, 3], [4, 0, 6, 2]])
    table = giou(a[:, None], a[None, :2])
    assert table.shape == (3, 2)
    assert np.allclose(table[:, 0], [1, 1 / 7 - 2 / 9, -4 / 12])


def test_deltas_move_by_half_a_size_and_grow_by_a_factor():
    """Box of centre (20, 40), size 20 x 40; dx = 1 is half a width, dy = -0.5 a quarter of a height; w doubles."""
    box = jnp.array([10.0, 20, 30, 60])
    deltas = jnp.array([1.0, -0.5, np.log(2), 0.0])
    assert np.allclose(apply_deltas(deltas, box), [10, 10, 50, 50])  # centre (30, 30), size 40 x 40
    assert np.allclose(apply_deltas(jnp.zeros(4), box), box)


def test_a_box_grows_by_a_bounded_factor_in_a_step():
    out = apply_deltas(jnp.array([0.0, 0, 1e6, 0]), jnp.array([0.0, 0, 16, 16]))
    assert np.allclose(out, [8 - 50_000, 0, 8 + 50_000, 16])
    assert np.isclose(np.exp(MAX_LOG_GROWTH), 100_000 / 16)


def test_formats_and_areas():
    assert from_cxcywh(jnp.array([5.0, 7, 4, 2])).tolist() == [3, 6, 7, 8]
    assert area(jnp.array([[3.0, 6, 7, 8], [1, 1, 1, 5]])).tolist() == [8, 0]
    assert picture_scale(jnp.array([[480, 640]]), jnp.dtype("float32")).tolist() == [[640, 480, 640, 480]]
