"""How far our poses are from the peer's, on results made up by hand."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
from flax import nnx

from querypose_jax.bench.inference import about_difference, without_zero_kernels


def test_only_reported_queries_are_compared():
    ours = SimpleNamespace(keypoints=np.zeros((1, 3, 1, 2), np.float32), valid=np.array([[True, False, True]]))
    theirs = np.array([1, 2, 100, 100, 3, 8], np.float32).reshape(1, 3, 1, 2)
    candidates = {"all": lambda: ours, "peer": lambda: theirs}
    assert "by 2.5e+00 pixels (median), 8.0e+00 at most (2 results, valid)" in about_difference(candidates, "peer")


def test_where_no_query_is_reported_all_are_compared():
    ours = SimpleNamespace(keypoints=np.zeros((1, 2, 1, 2), np.float32), valid=np.zeros((1, 2), bool))
    theirs = np.array([1, 2, 3, 100], np.float32).reshape(1, 2, 1, 2)
    text = about_difference({"all": lambda: ours, "peer": lambda: theirs}, "peer")
    assert "1.0e+02 at most (2 results, none of them valid)" in text


def test_kernels_that_start_at_zero_are_drawn_and_nothing_else():
    fresh = nnx.State(
        {"head": nnx.Param(jnp.zeros((4, 2))), "bias": nnx.Param(jnp.zeros(2)), "x": nnx.Param(jnp.ones((2, 2)))}
    )
    drawn = without_zero_kernels(fresh)
    assert drawn["head"][...].all()
    assert not drawn["bias"][...].any()
    assert np.array_equal(drawn["x"][...], np.ones((2, 2)))
