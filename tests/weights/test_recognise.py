"""Whatever the names and shapes of a file leave of the published checkpoints is found, and nothing is guessed."""

import re
from pathlib import Path

import numpy as np
import pytest

from querypose_jax.configuration.flat import flat
from querypose_jax.errors import UserError
from querypose_jax.models.registry import get_family
from querypose_jax.weights.official import abstract, official_shapes
from querypose_jax.weights.recognise import recognise, released_config, taken_for
from querypose_jax.weights.sources import TRUNK, guess_source, translate
from tests.weights.manifests import PUBLISHED, shapes_of
from tests.weights.states import hollow, shapes, small_head

# Manifests of what nobody has published, or of a part -> the one line that is said.
OTHERS = {
    ("ed_manifest_tiny.json",): "a model like ED-Pose .* of sizes that nobody has published .*--config=FILE",
    ("gp_manifest_tiny.json",): "a model like Group Pose .* of sizes that nobody has published .*--config=FILE",
    ("sp_manifest_tiny.json",): "a model like SimplePose .* of sizes that nobody has published .*--config=FILE",
    ("manifest_tiny.json",): "a model like QueryPose .* of sizes that nobody has published .*--config=FILE",
    ("manifest_tiny_light.json",): "a model like QueryPose .* of sizes that nobody has published .*--config=FILE",
    ("manifest_coco.json",): "x.pth may be one of 4 that look the same; say which: --config=configs/coco_r50.py:full",
    ("manifest_coco_light.json",): "x.pth may be one of 2 that look the same; .*coco_hrnet_w32.py:light",
    ("ed_manifest_r50_coco.json",):
        "x.pth may be one of 2 .*--config=configs/edpose/coco_r50.py .*--config=configs/edpose/human_art_r50.py",
}  # fmt: skip


def of_manifests(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Tensors without values; skips where a manifest is not there."""
    found, again = shapes_of(names)
    return hollow(found | {copy: found[first] for copy, first in again.items()})


@pytest.mark.parametrize("manifests", PUBLISHED, ids="+".join)
def test_a_published_state_dict_is_recognised_with_its_configuration_and_origin(manifests):
    file, config = PUBLISHED[manifests]
    model = recognise(Path(file), of_manifests(manifests))
    assert model.config == released_config(config)
    assert model.source == "official"
    weights = get_family(model.config.model.name).weights
    assert model.origin == weights.origin
    assert model.name in {r.name for r in weights.released if r.config == config}


@pytest.mark.parametrize("manifests", OTHERS, ids="+".join)
def test_what_cannot_be_told_is_said_with_the_flag_that_decides(manifests):
    with pytest.raises(UserError, match=OTHERS[manifests]) as caught:
        recognise(Path("x.pth"), of_manifests(manifests))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["edpose_r50_coco.pth", "edpose_r50_coco (1).pth", "edpose_human_art_r50.pth"])
def test_its_name_decides_between_two_that_look_the_same(file):
    model = recognise(Path(file), of_manifests(("ed_manifest_r50_coco.json",)))
    assert model.config.data.name == ("custom" if "human" in file else "coco")


def test_a_combination_of_published_sizes_is_a_relative_without_an_origin():
    model = recognise(Path("x.pth"), of_manifests(("gp_manifest_r50_crowdpose.json",)))
    assert model.config.data.skeleton == "crowdpose"
    assert model.config.model.backbone.name == "resnet"
    assert model.origin is None
    assert "relative of Group Pose" in model.name
    names = of_manifests(("gp_manifest_r50_crowdpose.json",))
    assert official_shapes(*abstract(model.config)).keys() <= names.keys()


def test_terms_hold_whoever_says_what_a_file_is():
    state = of_manifests(("ed_manifest_r50_coco.json",))
    for file, name in (("edpose/coco_r50.py", "ED-Pose R-50, COCO"), ("edpose/human_art_r50.py", "Human-Art")):
        config = released_config(file)
        config.model.dtype = "bfloat16"
        model = taken_for(state, config)
        assert (model.source, model.config) == ("official", config)
        assert name in model.name
        assert "non-commercial" in model.origin.terms
    assert taken_for(state, released_config("grouppose/coco_r50.py")) is None
    assert taken_for(hollow(GPT), config) is None


def mmposes(names: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An ED-Pose under the names of mmpose's port, by the table of the port read backwards."""
    to_official = get_family("edpose").weights.ports["mmpose"]
    renamed = {}
    for name, x in names.items():
        theirs = re.sub(r"^backbone\.0\.body\.", "backbone.", name)
        theirs = re.sub(r"^transformer\.(encoder|decoder)\.", r"head.\1.", theirs)
        theirs = re.sub(r"^transformer\.level_embed", "head.level_embed", theirs)
        theirs = re.sub(r"^label_enc\.", "head.label_enc.", theirs)
        theirs = re.sub(r"^(class|bbox|pose|pose_hw)_embed\.", r"head.out_head.\1_embed.", theirs)
        theirs = theirs.replace("self_attn.in_proj", "self_attn.attn.in_proj") if "decoder" in theirs else theirs
        renamed[theirs if to_official(theirs) == name else name] = x
    return renamed


def test_the_port_of_mmpose_is_told_from_the_authors_file_and_needs_no_name():
    state = mmposes(of_manifests(("ed_manifest_r50_coco.json",)))
    assert any(name.startswith("head.") for name in state)
    model = recognise(Path("x.pth"), state)
    assert model.source == "mmpose"
    assert model.config == released_config("edpose/coco_r50.py")
    assert "MMPose" in model.origin.publisher and "non-commercial" in model.origin.terms


RESNET = {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 1, 1), "fc.weight": (1000, 2048)} | {
    f"layer3.{block}.conv{k}.weight": (1, 1, 1, 1) for block in range(6) for k in (1, 3)
}
GPT = {"transformer.h.0.attn.c_attn.weight": (768, 2304), "transformer.wte.weight": (50257, 768)}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            RESNET,
            "x.pth holds ResNet-50 alone, with the head of a classifier of 1000 classes, not a pose model; .*init_from",
        ),
        ({"features.0.0.weight": (96, 3, 4, 4), "features.1.0.norm1.weight": (96,)}, "holds Swin-.* alone, not a pose"),
        (GPT, "holds no pose model that is known here .*its names are transformer.h.0.attn.c_attn.weight"),
        ({"transformer.level_embed": (4, 256), "transformer.instance_embedding.weight": (1, 256)}, "no pose model"),
    ],
)
def test_other_files_are_called_what_they_are(named, said):
    with pytest.raises(UserError, match=said) as caught:
        recognise(Path("x.pth"), hollow(named))
    assert "\n" not in str(caught.value)


def test_every_published_configuration_agrees_with_itself():
    """What names and shapes of a model tell is what its configuration says: else recognition would never find it."""
    for family in ("querypose", "edpose", "grouppose", "simplepose"):
        for released in get_family(family).weights.released:
            assert flat(released_config(released.config))["model.name"] == family


@pytest.mark.parametrize("prefix", ["", "backbone.bottom_up.", "torchvision"])
def test_whose_names_a_trunk_has_is_told_for_a_given_model(prefix):
    """By the rules of every source, read forwards: the one that is chosen finds all names."""
    expected = shapes(small_head())
    trunk = {name.removeprefix(TRUNK): shape for name, shape in expected.items() if name.startswith(TRUNK)}
    named = {prefix + name: shape for name, shape in trunk.items()}
    if prefix == "torchvision":
        named = {torchvisions(name): shape for name, shape in trunk.items()}
    source = guess_source(hollow(named), small_head(), expected)
    assert set(translate(hollow(named), source, small_head(), expected).tensors) == {TRUNK + name for name in trunk}


def torchvisions(name: str) -> str:
    """torchvision's name of a part of a ResNet."""
    name = name.replace("stem.conv1.norm.", "bn1.").replace("stem.", "")
    name = re.sub(r"^res(\d)\.", lambda m: f"layer{int(m[1]) - 1}.", name)
    name = re.sub(r"\.conv(\d)\.norm\.", r".bn\1.", name)
    return name.replace(".shortcut.norm.", ".downsample.1.").replace(".shortcut.", ".downsample.0.")


@pytest.mark.parametrize("name", ["stage4.0.branches.0.0.conv1.weight", "patch_embed.proj.weight"])
def test_a_number_in_the_place_of_a_kernel_is_no_trunk(name):
    names = {name: (), "layers.0.blocks.0.norm1.weight": ()}
    with pytest.raises(UserError, match="holds no pose model that is known here"):
        recognise(Path("x.pth"), hollow(names))


def test_an_hourglass_without_a_level_is_none():
    names = {"basenet.pre.0.conv.weight": (4, 3, 7, 7), "headnets.1.reg_convs.0.weight": (38, 8, 1, 1)}
    with pytest.raises(UserError, match="holds no pose model that is known here"):
        recognise(Path("x.pth"), hollow(names))


def test_names_of_a_file_reach_no_terminal_as_they_are():
    with pytest.raises(UserError) as caught:
        recognise(Path("x.pth"), hollow({"\x1b[2J\n" + "x" * 5000: (1,)}))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300
