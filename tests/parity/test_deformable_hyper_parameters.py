"""What names and shapes of released DETRs tell builds models with these very names and shapes."""

import importlib
import json
from pathlib import Path

import pytest

from querypose_jax.models.registry import get_family
from querypose_jax.weights.official import abstract, official_shapes
from tests.parity.test_manifests import manifests

FAMILIES = {"gp": "grouppose", "ed": "edpose"}


@pytest.mark.parametrize("path", manifests("gp_manifest_*.json") + manifests("ed_manifest_*.json"))
def test_a_manifests_model_is_built_from_its_shapes_alone(path: Path):
    name = FAMILIES[path.stem.split("_")[0]]
    manifest = json.loads(path.read_text())
    shapes = {key: tuple(shape) for key, shape in manifest["shapes"].items()}
    weights = get_family(name).weights
    found = weights.hyper_parameters(shapes)
    if "data.skeleton" not in found or "model.backbone.name" not in found:
        pytest.skip("joints or a backbone of a test's own: no released model has them")
    config = importlib.import_module(f"configs.{name}.defaults").get_config()
    config.update_from_flattened_dict(found)
    second_names = set(manifest["duplicates"])  # of tensors that state dicts hold twice
    ours = {key: shape for key, shape in official_shapes(*abstract(config)).items() if key not in second_names}
    used = {key: shape for key, shape in shapes.items() if not weights.unused.search(key)}
    assert ours == used
    other = {"edpose": "grouppose", "grouppose": "edpose"}[name]
    for stranger in (other, "querypose"):
        assert get_family(stranger).weights.hyper_parameters(shapes) is None
