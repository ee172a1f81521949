"""Every name and shape of an official state dict has its place in our model, or is known to carry nothing."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.backbones.backbone import Backbone
from querypose_jax.backbones.names import backbone_names
from querypose_jax.layers.initialisers import Keys
from querypose_jax.models.querypose.model import QueryPose
from querypose_jax.models.querypose.params import KNOWINGLY_UNUSED, head_names
from tests.parity import goldens
from tests.parity.test_backbone import manifest_config


def manifests(pattern: str) -> list:
    return goldens.by_name(sorted(goldens.FOLDER.glob(pattern)), pattern)


def assert_same_names_and_shapes(abstract: nnx.Module, names: dict, expected: dict[str, list[int]]) -> None:
    ours = {}
    for path, leaf in nnx.to_flat_state(nnx.state(abstract)):
        tensors = names[path].to_official(np.zeros(leaf.shape, np.int8))
        ours.update(zip(names[path].names, (list(tensor.shape) for tensor in tensors), strict=True))
    used = {name: shape for name, shape in expected.items() if not KNOWINGLY_UNUSED.search(name)}
    assert ours == used


@pytest.mark.parametrize("path", manifests("manifest_*.json"))
def test_head_names_and_shapes(path: Path):
    manifest = json.loads(path.read_text())
    if "parts" not in manifest.get("config", {}) or "init_proposal_boxes.weight" not in manifest["shapes"]:
        pytest.skip("not a QueryPose head")
    config, skeleton = goldens.model_config(manifest["config"], "float32")

    def build():
        model = QueryPose(config, skeleton, pictures_per_group=0, rngs=nnx.Rngs(0))
        del model.backbone
        return model

    assert_same_names_and_shapes(nnx.eval_shape(build), head_names(config, skeleton), manifest["shapes"])


@pytest.mark.parametrize("path", manifests("backbone_manifest_*.json"))
def test_backbone_names_and_shapes_and_what_trains(path: Path):
    manifest = json.loads(path.read_text())
    config = manifest_config(manifest["shapes"])
    abstract = nnx.eval_shape(lambda: Backbone(config, jnp.dtype("float32"), Keys(jax.random.key(0))))
    names = backbone_names(config)
    assert_same_names_and_shapes(abstract, names, manifest["shapes"])
    trained = {name for path, _ in nnx.to_flat_state(nnx.state(abstract, nnx.Param)) for name in names[path].names}
    movable = set(manifest["shapes"]) - set(manifest["frozen"])
    assert trained == {name for name in movable if not KNOWINGLY_UNUSED.search(name)}
