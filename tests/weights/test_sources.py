"""Every name of other libraries' trunks ends at its official name, and files of another model are recognised."""

import functools

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.edpose import coco_r50
from querypose_jax.errors import UserError
from querypose_jax.weights import sources
from querypose_jax.weights.report import match
from querypose_jax.weights.sources import TRUNK, architecture, from_port, translate
from tests.weights.states import hollow, shapes, small_head

TRUNKS = {
    "resnet50": {"name": "resnet", "depth": 50},
    "resnet101": {"name": "resnet", "depth": 101},
    "hrnet_w32": {"name": "hrnet", "branch_width": 32, "pyramid": "plain"},
    "hrnet_w48": {"name": "hrnet", "branch_width": 48, "pyramid": "v1"},
    "swin_t": {"name": "swin", "size": "T"},
    "swin_b": {"name": "swin", "size": "B"},
    "swin_l": {"name": "swin", "size": "L"},
}


@functools.cache
def config_of(trunk: str) -> ConfigDict:
    return small_head(**TRUNKS[trunk])


@functools.cache
def expected(trunk: str) -> dict[str, tuple[int, ...]]:
    return shapes(config_of(trunk))


def bare(trunk: str) -> dict[str, np.ndarray]:
    """The file of a trunk as its authors name it, without values."""
    return hollow(
        {name.removeprefix(TRUNK): shape for name, shape in expected(trunk).items() if name.startswith(TRUNK)}
    )


@pytest.mark.parametrize(
    ("rule", "theirs", "official"),
    [
        (sources.resnet_of_torchvision, "conv1.weight", "stem.conv1.weight"),
        (sources.resnet_of_torchvision, "bn1.running_var", "stem.conv1.norm.running_var"),
        (sources.resnet_of_torchvision, "layer1.2.conv3.weight", "res2.2.conv3.weight"),
        (sources.resnet_of_torchvision, "layer3.22.bn1.bias", "res4.22.conv1.norm.bias"),
        (sources.resnet_of_torchvision, "layer4.0.downsample.0.weight", "res5.0.shortcut.weight"),
        (sources.resnet_of_torchvision, "layer4.0.downsample.1.weight", "res5.0.shortcut.norm.weight"),
        (sources.swin_of_torchvision, "features.0.0.bias", "patch_embed.proj.bias"),
        (sources.swin_of_torchvision, "features.0.2.weight", "patch_embed.norm.weight"),
        (sources.swin_of_torchvision, "features.1.1.norm1.weight", "layers.0.blocks.1.norm1.weight"),
        (sources.swin_of_torchvision, "features.7.0.mlp.0.bias", "layers.3.blocks.0.mlp.fc1.bias"),
        (sources.swin_of_torchvision, "features.5.17.mlp.3.weight", "layers.2.blocks.17.mlp.fc2.weight"),
        (sources.swin_of_torchvision, "features.2.reduction.weight", "layers.0.downsample.reduction.weight"),
        (sources.swin_of_torchvision, "features.6.norm.bias", "layers.2.downsample.norm.bias"),
        (sources.swin_of_timm, "layers.1.downsample.norm.weight", "layers.0.downsample.norm.weight"),
        (sources.swin_of_timm, "layers.3.downsample.reduction.weight", "layers.2.downsample.reduction.weight"),
        (sources.swin_of_timm, "layers.3.blocks.1.attn.qkv.bias", "layers.3.blocks.1.attn.qkv.bias"),
    ],
)
def test_names_of_the_libraries_mean_these_official_ones(rule, theirs, official):
    assert rule(theirs) == official


@pytest.mark.parametrize(
    ("source", "trunk", "extra"),
    [
        ("detectron2", "resnet50", {"stem.fc.weight": (1000, 2048), "stem.fc.bias": (1000,)}),
        ("detectron2", "resnet101", {}),
        ("hrnet", "hrnet_w32", {"final_layer.weight": (17, 32, 1, 1), "bn1.num_batches_tracked": ()}),
        ("official", "hrnet_w48", {"final_layer.bias": (17,)}),
        ("timm", "hrnet_w32", {"incre_modules.0.0.conv1.weight": (1,), "classifier.bias": (1000,)}),
        ("official", "swin_t", {"norm.weight": (768,), "layers.0.blocks.1.attn_mask": (64, 49, 49)}),
        ("timm", "swin_b", {"head.weight": (1000, 1024), "norm.bias": (1024,)}),  # timm before 0.9
    ],
)
def test_files_of_trunks_fill_the_trunk_and_nothing_else(source, trunk, extra):
    found = translate(bare(trunk) | hollow(extra), source, config_of(trunk), expected(trunk))
    tensors, report = match(found, expected(trunk))
    assert report.problems == {}
    assert set(tensors) == {name for name in expected(trunk) if name.startswith(TRUNK)}
    assert sorted(report.unused) == sorted(extra)


def test_the_last_fusions_of_a_pose_network_are_known_to_be_missing():
    fusions = [
        name for name in bare("hrnet_w32") if name.startswith(tuple(f"stage4.2.fuse_layers.{i}." for i in "123"))
    ]
    file = {name: x for name, x in bare("hrnet_w32").items() if name not in fusions}
    assert len(fusions) == 65  # 3 + 4 + 6 convolutions, each with four arrays of batch norm
    for source, fits in (("hrnet", True), ("official", True), ("timm", False)):
        _, report = match(translate(file, source, config_of("hrnet_w32"), expected("hrnet_w32")), expected("hrnet_w32"))
        assert sorted(report.missing) == (sorted(TRUNK + name for name in fusions) if fits else [])
        assert bool(report.problems) == (not fits)


def test_the_norms_behind_the_stages_of_a_swin_are_known_to_be_missing():
    file = {name: x for name, x in bare("swin_t").items() if not name.startswith("norm")}
    _, report = match(translate(file, "official", config_of("swin_t"), expected("swin_t")), expected("swin_t"))
    assert report.problems == {}
    assert sorted(report.missing) == sorted(f"{TRUNK}norm{i}.{kind}" for i in range(4) for kind in ("weight", "bias"))


def test_a_source_without_such_a_trunk_names_those_that_have_it():
    with pytest.raises(UserError, match="source=torchvision has no weights .*'hrnet'; use official, hrnet, timm"):
        translate(bare("hrnet_w32"), "torchvision", config_of("hrnet_w32"), expected("hrnet_w32"))


def test_two_names_for_the_same_array_are_refused():
    file = bare("resnet50") | {"bottom_up.stem.conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}
    with pytest.raises(UserError, match="stem.conv1.weight and bottom_up.stem.conv1.weight are both"):
        translate(file, "detectron2", config_of("resnet50"), expected("resnet50"))


@pytest.mark.parametrize(
    ("trunk", "words"),
    [
        ("resnet50", "ResNet-50"), ("resnet101", "ResNet-101"), ("hrnet_w32", "HRNet-W32"),
        ("hrnet_w48", "HRNet-W48"), ("swin_t", "Swin-T"), ("swin_b", "Swin-B"), ("swin_l", "Swin-L"),
    ],
)  # fmt: skip
def test_a_trunk_is_recognised_alone_and_in_a_whole_model(trunk, words):
    assert architecture(bare(trunk)) == words
    assert architecture(hollow(expected(trunk))) == words
    assert architecture({"a": np.zeros(1)}) is None


def library_model(torch, source: str, name: str):
    """A model of torchvision or timm without values; skips where the library is not there."""
    pytest.importorskip("torchvision", reason="torchvision is not installed: nothing to compare with")
    with torch.device("meta"):
        if source == "timm":
            return pytest.importorskip("timm", reason="timm is not installed").create_model(name, pretrained=False)
        from torchvision import models

        return getattr(models, name)(weights=None)


@pytest.mark.parametrize(
    ("source", "name", "trunk"),
    [
        ("torchvision", "resnet50", "resnet50"),
        ("torchvision", "resnet101", "resnet101"),
        ("torchvision", "swin_t", "swin_t"),
        ("torchvision", "swin_b", "swin_b"),
        ("timm", "resnet50", "resnet50"),
        ("timm", "resnet101", "resnet101"),
        ("timm", "hrnet_w32", "hrnet_w32"),
        ("timm", "hrnet_w48", "hrnet_w48"),
        ("timm", "swin_tiny_patch4_window7_224", "swin_t"),
        ("timm", "swin_base_patch4_window7_224", "swin_b"),
        ("timm", "swin_base_patch4_window12_384", "swin_b"),
        ("timm", "swin_large_patch4_window7_224", "swin_l"),
    ],
)
def test_models_of_the_libraries_fill_the_whole_trunk(torch, source, name, trunk):
    model = library_model(torch, source, name)
    file = hollow({key: tuple(x.shape) for key, x in model.state_dict().items()})
    tensors, report = match(translate(file, source, config_of(trunk), expected(trunk)), expected(trunk))
    assert report.problems == {}
    norms = {f"{TRUNK}norm{i}.{kind}" for i in range(4) for kind in ("weight", "bias")}
    assert {key for key in expected(trunk) if key.startswith(TRUNK)} - set(tensors) == (
        norms if trunk.startswith("swin") else set()
    )
    assert len(report.interpolated) == (24 if "window12" in name else 0)


def test_a_port_of_a_whole_model_gets_its_authors_names():
    config = coco_r50.get_config()
    tensors = {"head.memory_trans_fc.bias": np.zeros(3), "neck.convs.0.conv.bias": np.ones(3), "a.counter": np.zeros(1)}
    renamed, source = from_port(tensors, "mmpose", config)
    assert source == "official"
    assert set(renamed) == {"transformer.enc_output.bias", "input_proj.0.0.bias", "a.counter"}
    assert np.array_equal(renamed["input_proj.0.0.bias"], np.ones(3))
    assert from_port(tensors, "torchvision", config) == (tensors, "torchvision")


def test_a_family_without_a_port_says_so():
    with pytest.raises(UserError, match="--source=mmpose has no weights for config.model.name='querypose'"):
        from_port({}, "mmpose", config_of("resnet50"))
