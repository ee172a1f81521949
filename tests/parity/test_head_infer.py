"""Inference of everything after the pyramid equals the reference, stage by stage and after post-processing."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

# (what, float32 tiny, float32 full, float64): max |a - b|, boxes and keypoints in pixels.
# float64 compares with numbers stored as float32: 1e-6 of the value, so larger for coordinates.
TOLERANCES = {
    "logits": (2e-4, 1e-3, 2e-6),
    "boxes": (5e-3, 2e-1, 2e-4),
    "pose": (2e-4, 2e-3, 2e-6),
    "sigma": (2e-4, 1e-3, 2e-6),
    "final_scores": (1e-4, 1e-4, 2e-6),
    "final_boxes": (5e-3, 2e-1, 2e-4),
    "final_keypoints": (1e-1, 1.0, 1e-3),
}


def is_full(golden):
    return golden.meta["config"]["dim"] >= 256


def parameters():
    marked = []
    for parameter in goldens.files("head_infer"):
        path = parameter.values[0]
        marks = list(parameter.marks)
        if path is not None and is_full(Golden(path)):
            marks.append(pytest.mark.slow)
        marked.append(pytest.param(path, id=parameter.id, marks=marks))
    return marked


@pytest.mark.parametrize("path", parameters())
def test_inference_equals_reference(path, dtype, record_property):
    golden = Golden(path)
    if dtype == "float32" and is_full(golden):
        pytest.skip("full size is compared in float64; float32 on the tiny heads")
    model = goldens.head(golden, dtype)
    graphdef, state = nnx.split(model)

    @jax.jit
    def infer(state, pyramid, batch):
        model = nnx.merge(graphdef, state)
        outputs = model.cascade(pyramid, batch, train=False)
        return outputs, model.decode(outputs, batch)

    outputs, poses = infer(state, goldens.pyramid(golden, dtype), goldens.batch(golden, dtype))
    score = 1 - np.asarray(outputs.sigma).mean(-1, keepdims=True)
    keypoints = np.concatenate([poses.keypoints, np.asarray(poses.keypoint_scores)[..., None]], -1)
    assert np.array_equal(poses.valid, golden["final_keep"])
    actual = {
        "logits": outputs.logits,
        "boxes": outputs.boxes,
        "pose": np.concatenate([outputs.xy, score], -1),
        "sigma": outputs.sigma,
        "final_scores": poses.scores,
        "final_boxes": poses.boxes,
        "final_keypoints": keypoints,
    }
    for key, (tiny, full, exact) in TOLERANCES.items():
        tolerance = exact if dtype == "float64" else full if is_full(golden) else tiny
        record_property(key, assert_close(actual[key], golden[key], tolerance, what=key))
