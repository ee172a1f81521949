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
from querypose_jax.backbones.swin import SIZES
from querypose_jax.recipes.canvas import place_on_canvas
from querypose_jax.structures import Batch
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

TOLERANCE = 1e-4  # of the largest absolute value of a map, float32
STATISTICS_TOLERANCE = 5e-4  # the same, with batch norm on the statistics of the batch
IMAGE_TOLERANCE = 1e-5
LEVELS = (2, 3, 4, 5)


def manifest_config(shapes: dict[str, list[int]]) -> ConfigDict:
    """config.model.backbone of a manifest's shapes; skips the test where we have no such backbone."""
    trunk = "backbone.bottom_up."
    if f"{trunk}transition1.0.0.weight" in shapes:
        pyramid = "v1" if "backbone.lateral_conv.0.weight" in shapes else "plain"
        width = shapes["backbone.reduction_conv.0.weight"][0]
        return hrnet_config(shapes[f"{trunk}transition1.0.0.weight"][0], pyramid, width)
    if f"{trunk}patch_embed.proj.weight" in shapes:
        return swin_config(shapes[f"{trunk}patch_embed.proj.weight"][0], shapes["backbone.fpn_lateral2.weight"][0])
    blocks = {name.split(".")[3] for name in shapes if name.startswith(f"{trunk}res4.")}
    depth = next((depth for depth, counts in BLOCKS.items() if counts[2] == len(blocks)), None)
    if depth is None or "backbone.fpn_lateral2.weight" not in shapes:
        pytest.skip("no HRNet, no Swin, and no ResNet with FPN of a depth we have")
    return resnet_config(depth, shapes["backbone.fpn_lateral2.weight"][0])


def golden_config(golden: Golden) -> ConfigDict:
    """config.model.backbone from what a golden says of itself and from its maps' channels.

    A resnet's depth is told by the manifest that it names, or, where that is missing, by its name.
    """
    width, finest = golden["p2_chmean"].shape[1], golden["c2_chmean"].shape[1]
    if golden.meta["family"] == "hrnet":
        return hrnet_config(finest, {"hrfpn": "plain", "hrfpn_v1": "v1"}[golden.meta["neck"]], width)
    if golden.meta["family"] == "swin":
        return swin_config(finest, width)
    manifest = goldens.FOLDER / golden.meta.get("manifest", f"backbone_manifest_{golden.meta['backbone']}.json")
    if manifest.exists():
        return manifest_config(json.loads(manifest.read_text())["shapes"])
    named = re.match(r"r(?:es|esnet)?_?(\d+)", golden.meta["backbone"])
    if not named or int(named[1]) not in BLOCKS:
        pytest.skip(f"no {manifest.name}, and the name {golden.meta['backbone']!r} tells no depth we have")
    return resnet_config(int(named[1]), width)


def resnet_config(depth: int, width: int) -> ConfigDict:
    return ConfigDict(dict(name="resnet", depth=depth, width=width, remat=False))


def hrnet_config(branch_width: int, pyramid: str, width: int) -> ConfigDict:
    return ConfigDict(dict(name="hrnet", branch_width=branch_width, pyramid=pyramid, remat=False, width=width))


def swin_config(dim: int, width: int) -> ConfigDict:
    size = next(name for name, size in SIZES.items() if size.dim == dim)
    return ConfigDict(dict(name="swin", size=size, drop_path=0.2, remat=False, width=width))


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


def backbone_files() -> list:
    """Every golden of a backbone; those that take long to compile or to fill are slow."""
    marked = []
    for parameter in goldens.files("backbone"):
        path = parameter.values[0]
        slow = path is not None and (goldens.metas()[path]["family"] == "hrnet" or path.stem.endswith(("_b", "_l")))
        marked.append(pytest.param(path, id=parameter.id, marks=[*parameter.marks, *[pytest.mark.slow] * slow]))
    return marked


@pytest.mark.parametrize("path", backbone_files())
def test_backbone_equals_reference(path, record_property):
    """All maps that are stored, and, where the golden has them, those with the statistics of the batch."""
    golden = Golden(path)
    config = golden_config(golden)
    abstract = nnx.eval_shape(lambda: Backbone(config, np.dtype("float32"), nnx.Rngs(0)))
    model = goldens.fill(abstract, backbone_names(config), golden.meta["weights_tag"], "float32")
    check_maps(golden, "", run(model, golden, train=False), TOLERANCE, record_property)
    if golden.names("bntrain_"):
        check_maps(golden, "bntrain_", run(model, golden, train=True), STATISTICS_TOLERANCE, record_property)


def run(model: Backbone, golden: Golden, train: bool) -> dict[str, np.ndarray]:
    """The golden's pictures through trunk and pyramid: c2..c5, p2..p6 [B C h w]."""
    graphdef, state = nnx.split(model)

    @jax.jit
    def maps_of(state, images):
        model = nnx.merge(graphdef, state)
        maps = model.trunk(images, train=train)
        return maps, model.pyramid(maps)

    with jax.default_matmul_precision("highest"):
        maps, pyramid = maps_of(state, np.moveaxis(golden["images"], 1, -1))
    named = {f"c{level}": x for level, x in zip(LEVELS, maps, strict=True)}
    named |= {f"p{level}": x for level, x in zip(LEVELS, pyramid, strict=True)}
    named["p6"] = named["p5"][:, ::2, ::2]  # the released P6: every other cell of P5
    return {key: np.moveaxis(x, -1, 1) for key, x in named.items()}


def check_maps(golden, prefix, maps, tolerance, record_property):
    """Every array that the golden stores under the prefix: a map's every s-th channel, means and deviations of all."""
    stored = [re.fullmatch(rf"{prefix}([cp]\d)(|_chmean|_chstd)", key) for key in golden.names(prefix)]
    found = [match for match in stored if match]
    assert {f"{kind}{level}" for kind in "cp" for level in LEVELS} <= {match[1] for match in found}
    for match in found:
        features, expected = maps[match[1]], golden[match[0]]
        scale = np.abs(golden[prefix + match[1]]).max()
        if match[2]:
            actual = features.mean((2, 3)) if match[2] == "_chmean" else features.std((2, 3))
        else:
            actual = features[:, :: -(-features.shape[1] // expected.shape[1])]
        record_property(match[0], float(assert_close(actual, expected, tolerance * scale, what=match[0]) / scale))
