"""Normalisation, trunk and pyramid equal the official backbones."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.backbones.backbone import Backbone, normalise
from querypose_jax.backbones.names import backbone_names
from querypose_jax.backbones.resnet import BLOCKS
from querypose_jax.pictures import place_on_canvas
from querypose_jax.structures import Batch
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

TOLERANCE = 1e-4  # of the largest absolute value of a map, float32
IMAGE_TOLERANCE = 1e-5
LEVELS = (2, 3, 4, 5)


def resnet_config(shapes: dict[str, list[int]]) -> ConfigDict:
    """config.model.backbone of a manifest's shapes; skips the test where we have no such backbone."""
    blocks = {name.split(".")[3] for name in shapes if name.startswith("backbone.bottom_up.res4.")}
    depth = next((depth for depth, counts in BLOCKS.items() if counts[2] == len(blocks)), None)
    if depth is None or "backbone.fpn_lateral2.weight" not in shapes:
        pytest.skip(f"no ResNet with FPN of depth {' or '.join(map(str, BLOCKS))}")
    return ConfigDict(dict(name="resnet", depth=depth, width=shapes["backbone.fpn_lateral2.weight"][0]))


def golden_config(golden: Golden) -> ConfigDict:
    """config.model.backbone from the manifest that a golden names, or, where that is missing, from its name."""
    manifest = goldens.FOLDER / golden.meta.get("manifest", f"backbone_manifest_{golden.meta['backbone']}.json")
    if manifest.exists():
        return resnet_config(json.loads(manifest.read_text())["shapes"])
    named = re.match(r"r(?:es|esnet)?_?(\d+)", golden.meta["backbone"])
    if not named or int(named[1]) not in BLOCKS:
        pytest.skip(f"no {manifest.name}, and the name {golden.meta['backbone']!r} tells no depth we have")
    return ConfigDict(dict(name="resnet", depth=int(named[1]), width=golden["p2_chmean"].shape[1]))


def picture_batch(golden: Golden) -> Batch:
    pictures = [golden[key] for key in sorted(golden.names("rgb"), key=lambda key: int(key[3:]))]
    height, width = golden["images"].shape[2:]
    count = len(pictures)
    sizes = np.array([picture.shape[:2] for picture in pictures], np.int32)
    return Batch(
        image=np.stack([place_on_canvas(picture, height, width) for picture in pictures]),
        valid_size=sizes,
        orig_size=sizes,
        image_id=np.arange(count, dtype=np.int32),
        inv_affine=np.zeros((count, 2, 3), np.float32),
        boxes=np.zeros((count, 1, 4), np.float32),
        keypoints=np.zeros((count, 1, 1, 3), np.float32),
        area=np.zeros((count, 1), np.float32),
        label=np.zeros((count, 1), np.int32),
        is_person=np.zeros((count, 1), bool),
    )


@pytest.mark.parametrize("path", goldens.files("backbone"))
def test_pictures_are_normalised_and_zero_outside(path):
    golden = Golden(path)
    actual = normalise(jax.tree.map(jnp.asarray, picture_batch(golden)), jnp.dtype("float32"))
    assert_close(np.moveaxis(actual, -1, 1), golden["images"], IMAGE_TOLERANCE)


@pytest.mark.parametrize("path", goldens.files("backbone", family="resnet"))
def test_resnet_equals_reference(path, record_property):
    golden = Golden(path)
    config = golden_config(golden)
    abstract = nnx.eval_shape(lambda: Backbone(config, np.dtype("float32"), nnx.Rngs(0)))
    model = goldens.fill(abstract, backbone_names(config), golden.meta["weights_tag"], "float32")
    graphdef, state = nnx.split(model)

    @jax.jit
    def run(state, images):
        model = nnx.merge(graphdef, state)
        maps = model.trunk(images, train=False)
        return maps, model.pyramid(maps)

    with jax.default_matmul_precision("highest"):
        maps, pyramid = run(state, np.moveaxis(golden["images"], 1, -1))
    for prefix, levels in (("c", maps), ("p", pyramid)):
        for level, features in zip(LEVELS, levels, strict=True):
            check_map(golden, f"{prefix}{level}", np.moveaxis(features, -1, 1), record_property)


def check_map(golden, key, features, record_property):
    """A map's stored channels (every s-th) and the means (and deviations) of all of them, [B C h w]."""
    expected = golden[key]
    stride = -(-features.shape[1] // expected.shape[1])
    scale = np.abs(expected).max()
    record_property(key, assert_close(features[:, ::stride], expected, TOLERANCE * scale, what=key) / scale)
    assert_close(features.mean((2, 3)), golden[f"{key}_chmean"], TOLERANCE * scale, what=f"{key}_chmean")
    if f"{key}_chstd" in golden:
        assert_close(features.std((2, 3)), golden[f"{key}_chstd"], TOLERANCE * scale, what=f"{key}_chstd")
