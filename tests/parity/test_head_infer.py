"""Inference of everything after the pyramid equals the reference, stage by stage and after post-processing."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

# max |a - b|, boxes and keypoints in pixels. float32: of a tiny head. float64 compares with numbers stored as float32:
# 1e-6 of the value, so larger for coordinates.
TOLERANCES = {
    "logits": {"float32": 2e-4, "float64": 2e-6},
    "boxes": {"float32": 5e-3, "float64": 2e-4},
    "pose": {"float32": 2e-4, "float64": 2e-6},
    "sigma": {"float32": 2e-4, "float64": 2e-6},
    "final_scores": {"float32": 1e-4, "float64": 2e-6},
    "final_boxes": {"float32": 5e-3, "float64": 2e-4},
    "final_keypoints": {"float32": 1e-1, "float64": 1e-3},
}


def is_full(config: dict) -> bool:
    return config["dim"] >= 256


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.head_files("head_infer", is_slow=is_full))
def test_inference_equals_reference(path, dtype, record_property):
    golden = Golden(path)
    if dtype == "float32" and is_full(golden.meta["config"]):
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
    for key, tolerance in TOLERANCES.items():
        record_property(key, assert_close(actual[key], golden[key], tolerance[dtype], what=key))
    # The released evaluator takes off the half pixel that its data loader has added.
    expected = golden["final_keypoints"][..., :2][golden["final_keep"]] - 0.5
    assert_close(
        goldens.written_keypoints(poses), expected, goldens.WRITTEN + TOLERANCES["final_keypoints"][dtype], what="coco"
    )
