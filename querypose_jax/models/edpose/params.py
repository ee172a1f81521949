"""Where an ED-Pose's parameters are in an official state dict (section 16)."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from querypose_jax.layers.layouts import NameMap, Source, linear_names, norm_names, prefixed, vector
from querypose_jax.models.deformable.names import (
    copied,
    deformable_attention_names,
    encoder_names,
    feed_forward_names,
    mlp_names,
    projection_names,
    query_attention_names,
    token_scores_names,
    trunk_names,
)
from querypose_jax.models.edpose.model import pose_heads
from querypose_jax.skeletons import get_skeleton

DECODER = "transformer.decoder."
# Registered with the model and with its decoder: the state dict has the same tensor under both names.
DOUBLED = ("class_embed.", "bbox_embed.", "pose_embed.")
SIDE_HEAD = "pose_hw_embed."  # one module, registered once for each pose layer, and all of it again with the decoder


def official_names(config: ConfigDict) -> NameMap:
    """Our path -> official source for the whole model (`config` is the whole configuration).

    Raises:
        UserError: a backbone that has no official counterpart.
    """
    pose_layers = config.model.decoder_layers - config.model.box_layers
    heads = {path: with_copies(source, pose_layers) for path, source in head_names(config).items()}
    return trunk_names(config.model.backbone) | heads


def head_names(config: ConfigDict) -> NameMap:
    """Everything behind the backbone, each tensor under its first name."""
    model, joints = config.model, get_skeleton(config.data.skeleton).num_keypoints
    names = (
        prefixed(("projection",), projection_names("input_proj", model.levels))
        | {("level_embeddings",): vector("transformer.level_embed")}
        | prefixed(("encoder",), encoder_names("transformer.encoder", model.encoder_layers))
        | prefixed(("token_scores",), token_scores_names("transformer"))
        | prefixed(("token_box",), mlp_names("transformer.enc_out_bbox_embed", 3))
        | prefixed(("norm",), norm_names(f"{DECODER}norm"))
        | prefixed(("position_head",), mlp_names(f"{DECODER}ref_point_head", 2))
        | {("joint_embeddings",): vector(f"{DECODER}keypoint_embed.weight")}
        | {("joint_sides",): vector(f"{DECODER}hw.weight")}
        | prefixed(("side_head",), mlp_names(f"{SIDE_HEAD}0", 3))
        | {("label_embeddings",): vector("label_enc.weight")}
    )
    for layer in range(model.decoder_layers):
        names |= prefixed(("layers", layer), decoder_layer_names(f"{DECODER}layers.{layer}"))
        names |= prefixed(("class_heads", layer), linear_names(f"class_embed.{layer}"))
        names |= prefixed(("box_heads", layer), mlp_names(f"bbox_embed.{layer}", 3))
    for head in range(pose_heads(model.decoder_layers - model.box_layers, joints)):
        names |= prefixed(("point_heads", head), mlp_names(f"pose_embed.{head}", 3))
    return names


def decoder_layer_names(name: str) -> NameMap:
    """`DecoderLayer`."""
    return (
        prefixed(("self_attention",), query_attention_names(f"{name}.self_attn"))
        | prefixed(("self_norm",), norm_names(f"{name}.norm2"))
        | prefixed(("cross_attention",), deformable_attention_names(f"{name}.cross_attn"))
        | prefixed(("cross_norm",), norm_names(f"{name}.norm1"))
        | prefixed(("ffn",), feed_forward_names(name))
        | prefixed(("ffn_norm",), norm_names(f"{name}.norm3"))
    )


def with_copies(source: Source, pose_layers: int) -> Source:
    """All names under which official state dicts hold a tensor."""
    (name,) = source.names
    return copied(source, copies_of(name, pose_layers))


def copies_of(name: str, pose_layers: int) -> Sequence[str]:
    """The names of a tensor beside its first one."""
    if name.startswith(DOUBLED):
        return [DECODER + name]
    if name.startswith(SIDE_HEAD):
        leaf = name.removeprefix(f"{SIDE_HEAD}0")
        again = [f"{SIDE_HEAD}{layer}{leaf}" for layer in range(pose_layers)]
        return [*again[1:], *(DECODER + copy for copy in again)]
    return []
