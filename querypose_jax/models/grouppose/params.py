"""Where a Group Pose's parameters are in an official state dict (section 14)."""

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

DECODER = "transformer.decoder."
# Registered with the model and with its decoder: the state dict has the same tensor under both names.
DOUBLED = ("class_embed.", "pose_embed.")


def official_names(config: ConfigDict) -> NameMap:
    """Our path -> official source for the whole model (`config` is the whole configuration).

    Raises:
        UserError: a backbone that has no official counterpart.
    """
    return trunk_names(config.model.backbone) | {path: doubled(s) for path, s in head_names(config.model).items()}


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
    """Of a tensor that official state dicts hold twice both copies; of any other the one."""
    (name,) = source.names
    return copied(source, [DECODER + name]) if name.startswith(DOUBLED) else source
