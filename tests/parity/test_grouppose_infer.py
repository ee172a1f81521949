"""Inference of Group Pose equals the reference, from the maps or pixels to the poses in original pixels."""

import numpy as np
import pytest

from tests.parity import goldens
from tests.parity.deformable_goldens import batch, check_tokens, inputs, network, without_backbone
from tests.parity.goldens import Golden, assert_close
from tests.parity.grouppose_goldens import by_key, grouppose

# max |a - b| by what a key begins with, of a tiny and of a full-size network.
TINY = {
    "memory": {"float32": 5e-5, "float64": 2e-6},
    "logits": {"float32": 5e-5, "float64": 2e-6},
    "interm_logits": {"float32": 5e-5, "float64": 2e-6},
    "points": {"float32": 5e-5, "float64": 2e-6},
    "interm_points": {"float32": 5e-5, "float64": 2e-6},
    "references": {"float32": 5e-5, "float64": 2e-6},
    "final_scores": {"float32": 1e-5, "float64": 1e-6},
    "final_keypoints": {"float32": 5e-3, "float64": 1e-4},
}
FULL = TINY | {
    "memory": {"float32": 1e-4, "float64": 2e-6},
    "logits": {"float32": 1e-4, "float64": 2e-6},
    "interm_logits": {"float32": 1e-4, "float64": 2e-6},
    "final_keypoints": {"float32": 1e-2, "float64": 1e-3},
}
TIES = TINY | {"interm_logits": {"float32": 2e-4, "float64": 2e-6}}
MAP_MEANS = {"float32": 1e-4, "float64": 2e-6}  # relative to the largest of a map
EVERY_TOKEN = 16  # of the memory is stored


def is_full(config: dict) -> bool:
    return config["width"] >= 256


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.head_files("gp_infer", is_slow=is_full))
def test_inference_equals_reference(path, dtype, record_property):
    golden = Golden(path)
    model = grouppose(golden, dtype)
    features, made = inputs(golden, model, batch(golden, dtype), golden.meta["config"]["channels"], dtype)
    for key in golden.names("map_mean/"):
        found = features[golden.meta["levels"].index(int(key.removeprefix("map_mean/c")))].mean((1, 2))
        record_property(key, assert_close(found, golden[key], relative=MAP_MEANS[dtype], what=key))
    if golden.meta.get("input", "features") != "features":
        model = without_backbone(model)
    state, run = network(model)
    memory, outputs, poses = run(state, features, made)

    has_ties = golden.meta.get("ties", False)
    tolerance = FULL if is_full(golden.meta["config"]) else TIES if has_ties else TINY
    check_tokens(outputs.token, golden["token_index"])
    every = int(golden.get("references_every", np.array(1)))
    found = by_key(outputs) | {"memory": np.asarray(memory)[:, ::EVERY_TOKEN]}
    for key, value in found.items():
        value = value[:, ::every] if key.startswith("references") else value
        limit = tolerance[key.split("/")[0]][dtype]
        record_property(key, assert_close(value, golden[key], limit, what=key))
    assert set(found) == {key for key in golden.names() if key.split("/")[0] in tolerance and "final" not in key}
    check_poses(poses, golden, tolerance, dtype, record_property)


def check_poses(poses, golden, tolerance, dtype, record_property):
    """Columns 1, 2 .. are classes 0, 1 ..; our poses are continuous, the golden's count pixels."""
    column = golden["final_labels"]
    assert np.array_equal(poses.valid, column > 0)
    assert np.array_equal(poses.labels[column > 0], column[column > 0] - 1)
    keypoints = np.asarray(poses.keypoints) - 0.5
    kept = golden["final_keypoints"][..., :2][column > 0]
    limit = goldens.WRITTEN + tolerance["final_keypoints"][dtype]
    assert_close(goldens.written_keypoints(poses), kept, limit, what="as written")
    for key, actual, expected in (
        ("final_scores", poses.scores, golden["final_scores"]),
        ("final_keypoints", keypoints, golden["final_keypoints"][..., :2]),
    ):
        record_property(key, assert_close(actual, expected, tolerance[key][dtype], what=key))
