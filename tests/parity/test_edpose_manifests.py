"""Every name and shape of an official ED-Pose state dict has its place in our model, or carries nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import matrix
from querypose_jax.models.deformable.names import KNOWINGLY_UNUSED
from querypose_jax.models.edpose.params import head_names, official_names, with_copies
from tests.parity.edpose_goldens import build, whole_config
from tests.parity.test_manifests import manifests


def manifest_files() -> list:
    """Every manifest; those of whole models take long to build, be it in shapes alone."""
    marked = []
    for parameter in manifests("ed_manifest_*.json"):
        path = parameter.values[0]
        slow = path is not None and json.loads(path.read_text())["config"]["backbone"] != "maps"
        marked.append(pytest.param(path, id=parameter.id, marks=[*parameter.marks, *[pytest.mark.slow] * slow]))
    return marked


@pytest.mark.parametrize("path", manifest_files())
def test_names_and_shapes_and_what_trains(path: Path):
    """Parameters that never get a gradient count as trained: weight decay moves them."""
    manifest = json.loads(path.read_text())
    theirs = manifest["config"]
    config = whole_config(theirs, "float32")
    abstract = nnx.eval_shape(lambda: build(config, theirs["map_channels"]))
    if theirs["backbone"] != "maps":
        names = official_names(config)
    else:
        pose_layers = theirs["dec_layers"] - theirs["box_layers"]
        names = {place: with_copies(source, pose_layers) for place, source in head_names(config).items()}
    ours = {}
    for place, leaf in nnx.to_flat_state(nnx.state(abstract)):
        tensors = names[place].to_official(np.zeros(leaf.shape, np.int8))
        ours.update(zip(names[place].names, (list(tensor.shape) for tensor in tensors), strict=True))
    shapes = manifest["shapes"] | {name: manifest["shapes"][first] for name, first in manifest["duplicates"].items()}
    assert ours == {name: shape for name, shape in shapes.items() if not KNOWINGLY_UNUSED.search(name)}
    assert len(ours) + len(manifest["constants"]) == manifest["num_entries"]
    assert all(KNOWINGLY_UNUSED.search(name) for name in manifest["constants"])

    trained = nnx.to_flat_state(nnx.state(abstract, nnx.Param))
    first_names = {names[place].names[0] for place, _ in trained}
    assert first_names == set(manifest["shapes"]) - set(manifest["frozen"])
    assert sum(leaf.size for _, leaf in trained) == manifest["num_trainable"]


def test_all_copies_of_a_head_must_be_equal():
    """The head of joints' box sides stands once for each pose layer in the state dict, and again with the decoder."""
    source = with_copies(matrix("pose_hw_embed.0.layers.0.weight"), 2)
    decoder = "transformer.decoder.pose_hw_embed"
    assert source.names == (
        "pose_hw_embed.0.layers.0.weight",
        "pose_hw_embed.1.layers.0.weight",
        f"{decoder}.0.layers.0.weight",
        f"{decoder}.1.layers.0.weight",
    )
    tensor = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(source.to_ours([tensor] * 4), tensor.T)
    assert all(np.array_equal(copy, tensor) for copy in source.to_official(tensor.T))
    with pytest.raises(UserError, match=f"pose_hw_embed.0.layers.0.weight and {decoder}.1.layers.0.weight differ"):
        source.to_ours([tensor, tensor, tensor, tensor + 1])
