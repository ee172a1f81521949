"""What names and shapes of a released state dict tell builds a model with these very names and shapes."""

import json
from pathlib import Path

import pytest

from configs import querypose
from querypose_jax.models.querypose.released import hyper_parameters
from querypose_jax.skeletons import SKELETONS, skeleton_from_parts
from tests.parity import goldens
from tests.parity.test_manifests import manifests
from tests.weights.states import shapes, small_head


@pytest.mark.parametrize("path", manifests("manifest_*.json"))
def test_a_manifests_head_is_built_from_its_shapes_alone(path: Path):
    manifest = json.loads(path.read_text())
    if "init_proposal_boxes.weight" not in manifest["shapes"]:
        pytest.skip("not a QueryPose head")
    parts = [tuple(joints) for _, joints in manifest["config"]["parts"]]
    skeleton = next(
        (s for s in SKELETONS.values() if [joints for _, joints in s.parts] == parts),
        skeleton_from_parts(manifest["config"]["parts"]),
    )
    found = hyper_parameters({name: tuple(shape) for name, shape in manifest["shapes"].items()})
    expected = goldens.model_config(manifest["config"], "float32")[0]
    config = querypose.get_config()
    config.update_from_flattened_dict({key: value for key, value in found.items() if key != "data.skeleton"})
    for ours in goldens.MODEL_KEYS.values():
        if ours == "heads" or (ours == "pose_roi" and config.model.light):
            continue  # no shape tells them
        assert config.model[ours] == expected[ours], ours
    assert found.get("data.skeleton", skeleton.name) == skeleton.name or skeleton.name == "from_parts"


@pytest.mark.parametrize(
    "backbone",
    [
        dict(name="resnet", depth=101),
        dict(name="hrnet", branch_width=48, pyramid="v1"),
        dict(name="swin", size="L"),
    ],
    ids=lambda backbone: backbone["name"],
)
def test_the_backbone_is_told_too_and_all_names_fit(backbone):
    config = small_head(**backbone)
    config.model.light = True
    named = shapes(config)
    found = hyper_parameters(named)
    prefix = "model.backbone."
    of_backbone = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    assert of_backbone == {**backbone, "width": 16}
    fresh = querypose.get_config()
    fresh.update_from_flattened_dict(found)
    fresh.model.heads = config.model.heads
    fresh.model.pose_roi = config.model.pose_roi
    assert shapes(fresh) == named


def test_other_state_dicts_are_not_taken_for_a_querypose():
    assert hyper_parameters({"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048)}) is None
