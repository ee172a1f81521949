"""Inference of Group Pose equals the reference, from the maps or pixels to the poses in original pixels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.backbones.backbone import normalise
from querypose_jax.recipes.canvas import place_on_canvas
from tests.parity import goldens
from tests.parity.deformable_goldens import batch, maps
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


def network(model: nnx.Module):
    """(state, program): maps and batch -> memory, outputs, poses."""
    graphdef, state = nnx.split(model)

    @jax.jit
    def run(state, maps, batch):
        model = nnx.merge(graphdef, state)
        tokens, memory = model.encode(maps, batch)
        outputs = model.decode_queries(tokens, memory)
        return memory, outputs, model.decode(outputs, batch)

    return state, run


def inputs(golden: Golden, model: nnx.Module, dtype: str):
    """The maps a golden generates, or those of its pixels, and the batch."""
    made = batch(golden, dtype)
    if golden.meta.get("input", "features") == "features":
        return maps(golden, golden.meta["config"]["channels"], dtype), made
    pictures = [golden[key] for key in sorted(golden.names("rgb"), key=lambda key: int(key[3:]))]
    canvas = golden["padded_size"].tolist()
    made = dataclasses.replace(made, image=jnp.stack([place_on_canvas(picture, *canvas) for picture in pictures]))
    graphdef, state = nnx.split(model.backbone)
    run = jax.jit(lambda state, images: nnx.merge(graphdef, state)(images, False))
    found = run(state, normalise(made, jnp.dtype(dtype)))
    return [found[stage] for stage in golden.meta["config"]["stages"]], made


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.head_files("gp_infer", is_slow=is_full))
def test_inference_equals_reference(path, dtype, record_property):
    golden = Golden(path)
    model = grouppose(golden, dtype)
    features, made = inputs(golden, model, dtype)
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


def without_backbone(model: nnx.Module) -> nnx.Module:
    """So that its weights are not carried into the program of what comes after."""
    del model.backbone
    return model


def check_tokens(token, expected):
    """Equal but where one of several equal rejected tokens was taken (-1)."""
    assert np.array_equal(np.where(expected < 0, -1, token), expected)


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
