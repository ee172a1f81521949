"""The released SimplePose V2: which checkpoints there are, and what their names and shapes tell."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from querypose_jax.models.family import OfficialWeights, Origin, Released, Shapes
from querypose_jax.models.simplepose.params import KNOWINGLY_UNUSED, official_names, trunk_names
from querypose_jax.skeletons import SKELETONS

ORIGIN = Origin(
    publisher="the authors of SimplePose V2",
    page="https://github.com/hellojialee/OffsetGuided",
    terms="none given: the release has no licence, ask its authors",
)
RELEASED = (
    Released("SimplePose V2, Hourglass-104, COCO", "simplepose/coco_hourglass104.py", "PoseNet_77_epoch.pth"),
    Released(
        "SimplePose V2, Hourglass-104, CrowdPose", "simplepose/crowdpose_hourglass104.py", "PoseNet_190_epoch.pth"
    ),
)
BLOCK = r"\.\d+\.conv1\.weight$"


def hyper_parameters(shapes: Shapes) -> dict[str, Any] | None:
    """Flat configuration keys that follow from the names and shapes of a state dict; None: no SimplePose.

    An unknown skeleton is left out.
    """
    if not {"basenet.pre.0.conv.weight", "headnets.1.reg_convs.0.weight"} <= shapes.keys():
        return None
    dims, mods, level = [], [], "basenet.kps.0"
    inside = shapes[f"{level}.low1.0.conv1.weight"][0]
    while f"{level}.up1.0.conv1.weight" in shapes:
        dims.append(shapes[f"{level}.up1.0.conv1.weight"][0])
        mods.append(count(shapes, re.escape(f"{level}.up1") + BLOCK))
        inside = shapes[f"{level}.low1.0.conv1.weight"][0]
        level = f"{level}.low2"
    found = {
        "depth": len(dims),
        "dims": (*dims, inside),
        "mods": (*mods, count(shapes, re.escape(level) + BLOCK)),
        "stem_dim": shapes["basenet.pre.0.conv.weight"][0],
        "feature_dim": shapes["basenet.cnvs.0.conv.weight"][0],
        "stacks": count(shapes, r"basenet\.cnvs\.\d+\."),
    }
    keys: dict[str, Any] = {f"model.backbone.{key}": value for key, value in found.items()}
    keys["model.scale_head"] = "headnets.1.scale_convs.0.weight" in shapes
    joints, offsets = shapes["headnets.0.hp_convs.0.weight"][0], shapes["headnets.1.reg_convs.0.weight"][0]
    known = [name for name, s in SKELETONS.items() if (s.num_keypoints, 2 * len(s.limbs)) == (joints, offsets)]
    return keys | ({"data.skeleton": known[0]} if known else {})


def count(names: Collection[str], pattern: str) -> int:
    """How many different matches of a pattern names begin with."""
    return len({match[0] for match in map(re.compile(pattern).match, names) if match})


def unapplied(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a released state dict holds besides what is applied: a counter for every batch norm."""
    norms = [name.removesuffix("running_var") for name in state if name.endswith(".running_var")]
    return {f"{norm}num_batches_tracked": np.zeros((), np.int64) for norm in norms}


WEIGHTS = OfficialWeights(
    names=official_names,
    trunk=trunk_names,
    unused=KNOWINGLY_UNUSED,
    prefixes=("basenet.", "headnets."),
    hyper_parameters=hyper_parameters,
    released=RELEASED,
    origin=ORIGIN,
    unapplied=unapplied,
)
