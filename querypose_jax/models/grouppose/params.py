"""Where a Group Pose's parameters are in an official state dict (section 14)."""

import re
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.backbones import names as backbones
from querypose_jax.backbones.names import swin_names, torchvision_resnet_names
from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import NameMap, Source, linear_names, norm_names, prefixed, vector
from querypose_jax.models.deformable.names import (
    deformable_attention_names,
    encoder_names,
    feed_forward_names,
    mlp_names,
    projection_names,
    query_attention_names,
    token_scores_names,
)

# Constants of the released code's modules.
KNOWINGLY_UNUSED = re.compile(r"\.relative_position_index$|\.num_batches_tracked$")

DECODER = "transformer.decoder."
# Registered with the model and with its decoder: the state dict has the same tensor under both names.
DOUBLED = ("class_embed.", "pose_embed.")


def official_names(config: ConfigDict) -> NameMap:
    """Our path -> official source for the whole model (`config` is the whole configuration).

    Raises:
        UserError: a backbone that has no official counterpart.
    """
    return trunk_names(config.model.backbone) | {path: doubled(s) for path, s in head_names(config.model).items()}


def trunk_names(config: ConfigDict) -> NameMap:
    """The backbone; `config` is config.model.backbone."""
    if config.name == "resnet":
        return prefixed(("backbone",), torchvision_resnet_names(config.depth, "backbone.0.body."))
    if config.name == "swin":
        return prefixed(("backbone",), swin_names(config.size, "backbone.0.", config.stages))
    raise UserError(f"config.model.backbone.name={config.name!r} has no official weights to exchange with")


def canonical_trunk_names(config: ConfigDict) -> NameMap:
    """The backbone alone, under the names to which files of trunks are translated."""
    backbone = config.model.backbone
    return prefixed(("backbone",), backbones.trunk_names(backbone, used=backbone.stages))


def head_names(config: ConfigDict) -> NameMap:
    """Everything behind the backbone, each tensor under one name; `config` is config.model."""
    names = (
        prefixed(("projection",), projection_names("input_proj", config.levels))
        | {("level_embeddings",): vector("transformer.level_embed")}
        | prefixed(("encoder",), encoder_names("transformer.encoder", config.encoder_layers))
        | prefixed(("token_scores",), token_scores_names("transformer"))
        | prefixed(("token_pose",), mlp_names("transformer.enc_pose_embed", 4))
        | {("joint_embeddings",): vector("transformer.keypoint_embedding.weight")}
        | {("instance_embedding",): vector("transformer.instance_embedding.weight")}
        | prefixed(("position_head",), mlp_names(f"{DECODER}half_pose_ref_point_head", 2))
    )
    for layer in range(config.decoder_layers):
        names |= prefixed(("layers", layer), decoder_layer_names(f"{DECODER}layers.{layer}"))
        names |= prefixed(("class_heads", layer), linear_names(f"class_embed.{layer}"))
        names |= prefixed(("point_heads", layer), mlp_names(f"pose_embed.{layer}", 3))
    return names


def decoder_layer_names(name: str) -> NameMap:
    """`DecoderLayer`."""
    return (
        prefixed(("within_attention",), query_attention_names(f"{name}.within_attn"))
        | prefixed(("within_norm",), norm_names(f"{name}.within_norm"))
        | prefixed(("across_attention",), query_attention_names(f"{name}.across_attn"))
        | prefixed(("across_norm",), norm_names(f"{name}.across_norm"))
        | prefixed(("cross_attention",), deformable_attention_names(f"{name}.cross_attn"))
        | prefixed(("cross_norm",), norm_names(f"{name}.norm1"))
        | prefixed(("ffn",), feed_forward_names(name))
        | prefixed(("ffn_norm",), norm_names(f"{name}.norm2"))
    )


def doubled(source: Source) -> Source:
    """Of a tensor that official state dicts hold twice both copies, which must be equal; of any other the one."""
    (name,) = source.names
    if not name.startswith(DOUBLED):
        return source

    def to_ours(copies: Sequence[np.ndarray]) -> np.ndarray:
        first, second = copies
        if not np.array_equal(first, second):
            raise UserError(
                f"{name} and {DECODER}{name} differ, and should be the same tensor: not a Group Pose's file"
            )
        return source.to_ours([first])

    return Source((name, DECODER + name), to_ours, lambda ours: [*source.to_official(ours)] * 2)
