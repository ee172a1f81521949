"""Every name and shape of an official Group Pose state dict has its place in our model, or carries nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import matrix
from querypose_jax.models.deformable.names import KNOWINGLY_UNUSED
from querypose_jax.models.grouppose.params import doubled, head_names, official_names
from tests.parity import goldens
from tests.parity.grouppose_goldens import build, whole_config
from tests.parity.test_manifests import manifests


def manifest_files() -> list:
    """Every manifest; those of whole models take long to build, be it in shapes alone."""
    marked = []
    for parameter in manifests("gp_manifest_*.json"):
        path = parameter.values[0]
        slow = path is not None and json.loads(path.read_text())["config"]["backbone"]
        marked.append(pytest.param(path, id=parameter.id, marks=[*parameter.marks, *[pytest.mark.slow] * bool(slow)]))
    return marked


@pytest.mark.parametrize("path", manifest_files())
def test_names_and_shapes_and_what_trains(path: Path):
    manifest = json.loads(path.read_text())
    config = whole_config(manifest["config"], "float32")
    abstract = nnx.eval_shape(lambda: build(config, manifest["config"]["channels"]))
    if manifest["config"]["backbone"]:
        names = official_names(config)
    else:
        names = {place: doubled(source) for place, source in head_names(config.model).items()}
    ours = {}
    for place, leaf in nnx.to_flat_state(nnx.state(abstract)):
        tensors = names[place].to_official(np.zeros(leaf.shape, np.int8))
        ours.update(zip(names[place].names, (list(tensor.shape) for tensor in tensors), strict=True))
    shapes = manifest["shapes"] | {name: manifest["shapes"][first] for name, first in manifest["duplicates"].items()}
    assert ours == {name: shape for name, shape in shapes.items() if not KNOWINGLY_UNUSED.search(name)}
    assert len(ours) == manifest["num_entries"]

    trained = nnx.to_flat_state(nnx.state(abstract, nnx.Param))
    first_names = {names[place].names[0] for place, _ in trained}
    assert first_names == set(manifest["shapes"]) - set(manifest["frozen"])
    assert sum(leaf.size for _, leaf in trained) == manifest["num_trainable"]


def test_reading_a_head_and_writing_it_is_the_identity():
    """Of the manifest kept here; copies come back as copies."""
    manifest = json.loads((goldens.KEPT / "gp_manifest_tiny.json").read_text())
    state = goldens.weights().make_all(manifest["shapes"])
    state |= {copy: state[first] for copy, first in manifest["duplicates"].items()}
    back = {}
    for source in map(doubled, head_names(whole_config(manifest["config"], "float32").model).values()):
        ours = source.to_ours([state[name] for name in source.names])
        back |= dict(zip(source.names, source.to_official(ours), strict=True))
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_copies_of_a_head_must_be_equal():
    source = doubled(matrix("class_embed.0.weight"))
    assert source.names == ("class_embed.0.weight", "transformer.decoder.class_embed.0.weight")
    tensor = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(source.to_ours([tensor, tensor]), tensor.T)
    assert all(np.array_equal(copy, tensor) for copy in source.to_official(tensor.T))
    with pytest.raises(UserError, match="class_embed.0.weight and transformer.decoder.class_embed.0.weight differ"):
        source.to_ours([tensor, tensor + 1])
