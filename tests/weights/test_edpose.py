"""Files of ED-Poses, official and mmpose's, through the command line: everything arrives, and comes out as it was."""

import json

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.checkpoints.checkpoint import load_model
from querypose_jax.weights.command import main
from tests.models.edpose import small_model
from tests.models.edpose.test_mmpose import mmpose_name
from tests.parity import goldens
from tests.parity.deformable_goldens import inputs, network, without_backbone
from tests.parity.edpose_goldens import batch
from tests.parity.test_edpose_infer import check_poses, compare_outputs, is_full, tolerances
from tests.test_imports import ROOT
from tests.weights import torch_files
from tests.weights.states import random_state
from tests.weights.test_full_states import golden_of, write
from tests.weights.test_importing import equal


def get_config() -> ConfigDict:
    """A small ED-Pose on a trunk that has been released."""
    config = small_model.small_config()
    config.model.backbone.update(name="resnet", depth=50)
    return config


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """A complete state dict: every tensor different, those that it holds several times equal."""
    made = random_state(get_config())
    decoder = "transformer.decoder."
    for name in made:
        first = name.removeprefix(decoder)
        if first.startswith("pose_hw_embed."):
            first = "pose_hw_embed.0." + first.split(".", 2)[2]
        made[name] = made.get(first, made[name])
    return made


@pytest.fixture(scope="module")
def official(state, tmp_path_factory):
    """The folder of an import of that state dict."""
    folder = tmp_path_factory.mktemp("official")
    run_import(folder, "official", state)
    return folder / "out"


def run_import(folder, source: str, state: dict[str, np.ndarray]) -> None:
    """--source=SOURCE of a .pth of this state dict, from `folder` to its `out`; every tensor must be used."""
    write(state, folder / "edpose.pth")
    arguments = [f"--input={folder / 'edpose.pth'}", f"--config={__file__}", f"--output={folder / 'out'}"]
    assert main(["weights", f"--source={source}", *arguments]) == 0
    report = json.loads((folder / "out" / "import.json").read_text())
    assert report["whole_model"]
    assert len(report["used"]) == len(state)


def test_a_state_dict_comes_out_as_it_went_in(state, official, tmp_path):
    """With all copies of its heads."""
    path = tmp_path / "again.safetensors"
    assert main(["weights", "--to=official", f"--input={official}", f"--output={path}"]) == 0
    exported = safetensors.numpy.load_file(path)
    assert exported.keys() == state.keys()
    assert "transformer.decoder.pose_hw_embed.0.layers.2.bias" in exported
    for name, tensor in state.items():
        assert np.array_equal(exported[name], tensor), name


@pytest.mark.slow
def test_the_file_of_mmpose_gives_the_same_model(state, official, tmp_path):
    run_import(tmp_path, "mmpose", {mmpose_name(name): tensor for name, tensor in state.items()})
    equal(load_model(tmp_path / "out")[2], load_model(official)[2])


@pytest.mark.slow
@pytest.mark.parametrize("source", ["official", "mmpose"])
def test_a_complete_state_dict_imports_and_gives_the_golden_predictions(source, tmp_path, record_property):
    """The release's R-50 by its manifest, all duplicates in it."""
    golden = golden_of("ed_infer", lambda meta: is_full(meta["config"]) and meta["joints"] == 17)
    manifest = json.loads((goldens.FOLDER / golden.meta["manifest"]).read_text())
    state = goldens.weights().make_all(manifest["shapes"], golden.meta["weights_tag"])
    state |= {copy: state[name] for copy, name in manifest["duplicates"].items()}
    assert len(state) == manifest["num_entries"]
    if source == "mmpose":
        state = {mmpose_name(name): tensor for name, tensor in state.items()}
    (tmp_path / "edpose.pth").write_bytes(torch_files.save({"model": state, "epoch": 59}))
    arguments = [f"--input={tmp_path / 'edpose.pth'}", f"--output={tmp_path / 'out'}"]
    config = f"--config={ROOT / 'configs' / 'edpose' / 'coco_r50.py'}"
    assert main(["weights", f"--source={source}", config, *arguments]) == 0
    del state
    (tmp_path / "edpose.pth").unlink()

    model = nnx.merge(*load_model(tmp_path / "out")[1:])
    features, made = inputs(golden, model, batch(golden, "float32"), golden.meta["config"]["map_channels"], "float32")
    weights, run = network(without_backbone(model))
    memory, outputs, poses = run(weights, features, made)
    compare_outputs(golden, outputs, memory, "float32", record_property)
    check_poses(poses, golden, tolerances(golden), "float32", record_property)
