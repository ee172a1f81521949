"""How far our poses are from the peer's, on results made up by hand."""

from types import SimpleNamespace

import numpy as np

from querypose_jax.bench.inference import about_difference


def test_only_reported_queries_are_compared():
    ours = SimpleNamespace(keypoints=np.zeros((1, 3, 1, 2), np.float32), valid=np.array([[True, False, True]]))
    theirs = np.array([1, 2, 100, 100, 3, 8], np.float32).reshape(1, 3, 1, 2)
    candidates = {"all": lambda: ours, "peer": lambda: theirs}
    assert about_difference(candidates, "peer").endswith("by 2.5e+00 pixels (median), 8.0e+00 at most.")
    ours.valid[:] = False
    assert "not compared" in about_difference(candidates, "peer"), "nothing compared is no agreement"
