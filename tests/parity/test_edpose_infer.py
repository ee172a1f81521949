"""Inference of ED-Pose equals the reference, from the maps or pixels to the poses in original pixels."""

import numpy as np
import pytest

from tests.parity import goldens
from tests.parity.deformable_goldens import check_tokens, inputs, network, without_backbone
from tests.parity.edpose_goldens import batch, by_key, edpose
from tests.parity.goldens import Golden, assert_close

# max |a - b| by what a key begins with, of a tiny and of a full-size network.
TINY = {
    "memory": {"float32": 5e-5, "float64": 2e-6},
    "logits": {"float32": 5e-5, "float64": 2e-6},
    "interm_logits": {"float32": 5e-5, "float64": 2e-6},
    "boxes": {"float32": 5e-5, "float64": 2e-6},
    "interm_boxes": {"float32": 5e-5, "float64": 2e-6},
    "points": {"float32": 5e-5, "float64": 2e-6},
    "references": {"float32": 5e-5, "float64": 2e-6},
    "dn_logits": {"float32": 5e-5, "float64": 2e-6},
    "dn_boxes": {"float32": 5e-5, "float64": 2e-6},
    "dn_targets": {"float32": 1e-6, "float64": 1e-6},
    "final_scores": {"float32": 1e-5, "float64": 1e-6},
    "final_boxes": {"float32": 5e-3, "float64": 1e-4},
    "final_keypoints": {"float32": 5e-3, "float64": 1e-4},
}
FULL = TINY | {
    "memory": {"float32": 1e-4, "float64": 2e-6},
    "logits": {"float32": 1e-4, "float64": 2e-6},
    "interm_logits": {"float32": 1e-4, "float64": 2e-6},
    "final_boxes": {"float32": 5e-3, "float64": 1e-3},
    "final_keypoints": {"float32": 5e-3, "float64": 1e-3},
}
TIES = TINY | {"interm_logits": {"float32": 2e-4, "float64": 2e-6}}
MAP_MEANS = {"float32": 1e-4, "float64": 2e-6}  # relative to the largest of a map
EVERY_TOKEN = 16  # of the memory is stored


def is_full(config: dict) -> bool:
    return config["width"] >= 256


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.head_files("ed_infer", is_slow=is_full))
def test_inference_equals_reference(path, dtype, record_property):
    golden = Golden(path)
    config = golden.meta["config"]
    model = edpose(golden, dtype)
    features, made = inputs(golden, model, batch(golden, dtype), config["map_channels"], dtype)
    for key in golden.names("map_mean/"):
        found = features[config["stages"].index(int(key.removeprefix("map_mean/c")) - 2)].mean((1, 2))
        record_property(key, assert_close(found, golden[key], relative=MAP_MEANS[dtype], what=key))
    if config["backbone"] != "maps":
        model = without_backbone(model)
    state, run = network(model)
    memory, outputs, poses = run(state, features, made)
    compare_outputs(golden, outputs, memory, dtype, record_property)
    check_poses(poses, golden, tolerances(golden), dtype, record_property)


def tolerances(golden: Golden) -> dict:
    return FULL if is_full(golden.meta["config"]) else TIES if golden.meta.get("ties", False) else TINY


def compare_outputs(golden: Golden, outputs, memory, dtype: str, record_property):
    """All predictions. In a full-size network float32 cannot tell all neighbours in the order of the tokens apart:
    there queries are compared by the tokens they come from."""
    config, tolerance = golden.meta["config"], tolerances(golden)
    found = by_key(outputs)
    if is_full(config) and dtype == "float32":
        found = in_order_of(golden, outputs, found)
    else:
        check_tokens(outputs.token, golden["token_index"])
        check_tokens(outputs.kept, golden["group_index"])
    every = int(golden.get("references_every", np.array(1)))
    found["memory"] = np.asarray(memory)[:, ::EVERY_TOKEN]
    for key, value in found.items():
        value = value[:, ::every] if key.startswith("references") else value
        limit = tolerance[key.split("/")[0]][dtype]
        record_property(key, assert_close(value, golden[key], limit, what=key))
    assert set(found) == {key for key in golden.names() if key.split("/")[0] in tolerance and "final" not in key}


def in_order_of(golden: Golden, outputs, found: dict) -> dict:
    """Predictions with queries in the golden's order; which tokens were chosen, and which people kept, is equal."""
    config = golden.meta["config"]
    token = np.asarray(outputs.token)
    place = places(token, golden["token_index"])
    group_place = places(np.take_along_axis(token, np.asarray(outputs.kept), 1), golden["group_token"])
    members = config["num_joints"] + 1
    ordered = {}
    for key, value in found.items():
        name, _, layer = key.partition("/")
        if name == "references" and int(layer) >= config["box_layers"]:
            instances = value.reshape(len(value), -1, members * 4)
            ordered[key] = reorder(instances, group_place).reshape(value.shape)
        else:
            of_people = not layer or int(layer) < config["box_layers"]
            ordered[key] = reorder(value, place if of_people else group_place)
    return ordered


def places(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Where in our rows each of their tokens stands."""
    assert np.array_equal(np.sort(ours, 1), np.sort(theirs, 1))
    return np.stack([np.argsort(a)[np.searchsorted(np.sort(a), b)] for a, b in zip(ours, theirs, strict=True)])


def reorder(x: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.stack([rows[index] for rows, index in zip(x, place, strict=True)])


def check_poses(poses, golden, tolerance, dtype, record_property):
    """Columns 1, 2 .. are classes 0, 1 ..; golden joints count pixels, ours are continuous; our boxes are clipped."""
    column = golden["final_labels"]
    known = column >= 0  # otherwise it depends on which of several equal ones was taken
    assert np.array_equal(np.asarray(poses.valid)[known], (column > 0)[known])
    is_class = column > 0
    assert np.array_equal(np.asarray(poses.labels)[is_class], column[is_class] - 1)
    limit = golden["output_sizes"][:, None, [1, 0, 1, 0]]
    for key, actual, expected in (
        ("final_scores", poses.scores, golden["final_scores"]),
        ("final_boxes", poses.boxes, np.clip(golden["final_boxes"], 0, limit)),
        ("final_keypoints", np.asarray(poses.keypoints) - 0.5, golden["final_keypoints"]),
    ):
        record_property(key, assert_close(actual, expected, tolerance[key][dtype], what=key))
