"""The released QueryPose: what its checkpoints are called and hold, and the hyper-parameters that follow from them."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.backbones import unapplied as of_backbone
from querypose_jax.backbones.names import backbone_names
from querypose_jax.backbones.recognise import SETTINGS, hrnet_pyramid, trunk_in_words
from querypose_jax.layers.layouts import NameMap, prefixed
from querypose_jax.models.family import OfficialWeights, Origin, Released, Shapes
from querypose_jax.models.querypose.params import KNOWINGLY_UNUSED, head_names
from querypose_jax.skeletons import SKELETONS, get_skeleton

TRUNK = "backbone.bottom_up."
# The modules that only the full version has.
FULL_VERSION = re.compile(
    r"^head\.pose_head_series\.\d+\.(pose_decoder_inst_interact|inst_norm|norm2|linear1|linear2)\."
)

ORIGIN = Origin(
    publisher="the authors of QueryPose", page="https://github.com/buptxyb666/QueryPose", terms="MIT (of the code)"
)
DRIVE = "https://drive.google.com/uc?id="
RELEASED = (  # of the paper's and the release's tables; the latter links the two light ones, without their names
    Released("QueryPose R-50", "coco_r50.py:full"),
    Released("QueryPose R-101", "coco_r101.py:full"),
    Released(
        "QueryPose HRNet-W32, light",
        "coco_hrnet_w32.py:light",
        address=f"{DRIVE}1NWdntVoKFz7KjcDjTGwmAHyEEcS2PWC5",
    ),
    Released(
        "QueryPose HRNet-W48, light",
        "coco_hrnet_w48.py:light",
        address=f"{DRIVE}1SFECnDV97D_W9Ij4WjcX3BfbiNbGue67",
    ),
    Released("QueryPose HRNet-W48", "coco_hrnet_w48.py:full"),
    Released("QueryPose Swin-L", "coco_swin_l.py:full"),
)


def official_names(config: ConfigDict) -> NameMap:
    """Our path -> official source for the whole model (`config` is the whole configuration)."""
    skeleton = get_skeleton(config.data.skeleton)
    return prefixed(("backbone",), backbone_names(config.model.backbone)) | head_names(config.model, skeleton)


def hyper_parameters(shapes: Shapes) -> dict[str, Any] | None:
    """Everything that names and shapes tell; the number of heads is not among it. None: no QueryPose.

    An unknown trunk or an unknown set of parts is left out.
    """
    if not {"init_proposal_features.weight", "part_query.weight"} <= shapes.keys():
        return None
    box, pose = "head.head_series.0.", "head.pose_head_series.0."
    proposals, dim = shapes["init_proposal_features.weight"]
    _, part_dim = shapes["part_query.weight"]
    out_layer = shapes[f"{box}inst_interact.out_layer.weight"]
    found = {
        "num_proposals": proposals,
        "dim": dim,
        "part_dim": part_dim,
        "backbone.width": dim,
        "num_classes": shapes[f"{box}class_logits.weight"][0],
        "stages": count(shapes, r"head\.head_series\.\d+\."),
        "class_layers": count(shapes, rf"{re.escape(box)}cls_module\.\d+\.weight") // 2,  # each with a norm
        "box_layers": count(shapes, rf"{re.escape(box)}reg_module\.\d+\.weight") // 2,
        "dynamic_dim": shapes[f"{box}inst_interact.norm1.weight"][0],
        "ffn_dim": shapes[f"{box}linear1.weight"][0],
        "box_roi": round((out_layer[1] / dim) ** 0.5),
        "pose_convs": count(shapes, rf"{re.escape(pose)}inst_convs\.\d+\.weight"),
        "light": not any(map(FULL_VERSION.search, shapes)),
        "flow_couplings": count(shapes, r"criterion\.flow\.flow\.s\.\d+\."),
        "flow_dim": shapes["criterion.flow.flow.s.0.0.weight"][0],
    }
    if interaction := shapes.get(f"{pose}pose_decoder_inst_interact.out_layer.weight"):
        found["pose_roi"] = round((interaction[1] / dim) ** 0.5)
    return {f"model.{key}": value for key, value in (found | backbone(shapes)).items()} | skeleton_keys(shapes)


def backbone(shapes: Shapes) -> dict[str, Any]:
    """Keys of config.model.backbone, with their prefix."""
    trunk = trunk_in_words({name.removeprefix(TRUNK): shape for name, shape in shapes.items()})
    settings = dict(SETTINGS.get(trunk or "", {}))
    if settings.get("name") == "hrnet" and (pyramid := hrnet_pyramid(shapes)):
        settings["pyramid"] = pyramid
    return {f"backbone.{key}": value for key, value in settings.items()}


def skeleton_keys(shapes: Shapes) -> dict[str, str]:
    """The known skeleton whose parts have these numbers of joints: COCO's before its variants."""
    heads = {name: shape for name, shape in shapes.items() if re.match(r"head\.pose_head_series\.0\.fc_coord\.", name)}
    parts = [heads[f"head.pose_head_series.0.fc_coord.{p}.linear.weight"][0] // 2 for p in range(len(heads) // 2)]
    known = [name for name, s in SKELETONS.items() if [len(joints) for _, joints in s.parts] == parts]
    return {"data.skeleton": known[0]} if known else {}


def count(names: Collection[str], pattern: str) -> int:
    """How many different beginnings of names a pattern has."""
    return len({match[0] for match in map(re.compile(pattern).match, names) if match})


def misfit(expected: Collection[str], missing: Collection[str], unexpected: Collection[str]) -> str | None:
    """The other version, or the other pyramid of HRNet, with the flag that asks for it."""
    pyramid = hrnet_pyramid([*(set(expected) - set(missing)), *unexpected])
    if pyramid and hrnet_pyramid(expected) not in (None, pyramid):
        return f"these are weights with HRNet's {pyramid} pyramid; add --config.model.backbone.pyramid={pyramid}"
    of_full = {name for name in expected if FULL_VERSION.search(name)}
    if of_full and of_full <= set(missing):
        return "these are weights of the light version, the config asks for the full one; add --config.model.light=True"
    if not of_full and any(map(FULL_VERSION.search, unexpected)):
        return (
            "these are weights of the full version, the config asks for the light one; add --config.model.light=False"
        )
    return None


def unapplied(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a released state dict holds besides what is applied: zeros and constants."""
    extra = of_backbone.unapplied(state)
    for name, tensor in state.items():
        if name.endswith(".updater.fc1.weight"):
            updater = name.removesuffix("fc1.weight")
            extra[f"{updater}fc3.weight"] = np.zeros((tensor.shape[1], tensor.shape[1]), np.float32)
            extra[f"{updater}norm_fc3.weight"] = np.zeros(tensor.shape[1], np.float32)
            extra[f"{updater}norm_fc3.bias"] = np.zeros(tensor.shape[1], np.float32)
    if couplings := count(state, r"criterion\.flow\.flow\.s\.\d+\."):
        extra["criterion.flow.flow.mask"] = np.resize(np.float32([[0, 1], [1, 0]]), (couplings, 2))
    return extra


def trunk(config: ConfigDict) -> NameMap:
    """Trunk and pyramid."""
    return prefixed(("backbone",), backbone_names(config.model.backbone))


WEIGHTS = OfficialWeights(
    names=official_names,
    trunk=trunk,
    unused=KNOWINGLY_UNUSED,
    prefixes=("backbone.", "head.", "criterion.", "init_proposal_", "part_query."),
    hyper_parameters=hyper_parameters,
    released=RELEASED,
    origin=ORIGIN,
    misfit=misfit,
    unapplied=unapplied,
)
