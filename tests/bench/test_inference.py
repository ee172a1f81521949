"""How far our poses are from the peer's, on results made up by hand."""

from types import SimpleNamespace

import numpy as np

from querypose_jax.bench.inference import difference


def test_only_reported_queries_are_compared():
    ours = SimpleNamespace(keypoints=np.zeros((1, 3, 1, 2), np.float32), valid=np.array([[True, False, True]]))
    theirs = np.array([1, 2, 100, 100, 3, 8], np.float32).reshape(1, 3, 1, 2)
    candidates = {"all": lambda: ours, "peer": lambda: theirs}
    assert difference(candidates, "peer") == (2.5, 8.0)
    ours.valid[:] = False
    assert np.isnan(difference(candidates, "peer")).all(), "nothing compared is no agreement"
