"""Hyper-parameters of a deformable DETR that follow from the names and shapes of its released state dict."""

import re
from collections.abc import Collection
from typing import Any

from querypose_jax.backbones.bias_tables import window_of
from querypose_jax.backbones.recognise import SETTINGS, trunk_in_words
from querypose_jax.models.family import Shapes
from querypose_jax.skeletons import SKELETONS

RESNET, SWIN = "backbone.0.body.", "backbone.0."
ATTENTION = "transformer.encoder.layers.0.self_attn."
COORDINATES = 2


def backbone(shapes: Shapes) -> dict[str, Any]:
    """Keys of config.model.backbone, with their prefix; none for a trunk that is not known."""
    depths = {6: 50, 23: 101}
    if blocks := count(shapes, rf"{re.escape(RESNET)}layer3\.\d+\."):
        return {"backbone.name": "resnet", "backbone.depth": depths[blocks]} if blocks in depths else {}
    settings = SETTINGS.get(trunk_in_words({n.removeprefix(SWIN): s for n, s in shapes.items()}) or "")
    if not settings:
        return {}
    table = shapes[f"{SWIN}layers.0.blocks.0.attn.relative_position_bias_table"]
    stages = tuple(stage for stage in range(4) if f"{SWIN}norm{stage}.weight" in shapes)
    own = {"window": window_of(table[0]), "stages": stages}
    return {f"backbone.{key}": value for key, value in (settings | own).items()}


def encoder(shapes: Shapes) -> dict[str, Any]:
    """Sizes of the tokens and of the encoder; heads x levels x points are told apart by the level embeddings, and by
    heads of 32 channels, which all released models have."""
    levels, dim = shapes["transformer.level_embed"]
    heads = max(dim // 32, 1)
    return {
        "dim": dim,
        "levels": levels,
        "heads": heads,
        "encoder_layers": count(shapes, r"transformer\.encoder\.layers\.\d+\."),
        "encoder_points": shapes[f"{ATTENTION}sampling_offsets.bias"][0] // (COORDINATES * heads * levels),
        "ffn_dim": shapes["transformer.encoder.layers.0.linear1.weight"][0],
    }


def skeleton(joints: int) -> dict[str, str]:
    """The known skeleton of so many joints, COCO's or CrowdPose's."""
    known = [name for name in ("coco", "crowdpose") if SKELETONS[name].num_keypoints == joints]
    return {"data.skeleton": known[0]} if known else {}


def count(names: Collection[str], pattern: str) -> int:
    """How many different beginnings of names a pattern has."""
    return len({match[0] for match in map(re.compile(pattern).match, names) if match})
