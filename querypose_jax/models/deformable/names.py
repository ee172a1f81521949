"""Where the shared parts' parameters are in a released state dict (section 14 of Group Pose, 16 of ED-Pose)."""

import re
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.backbones import names as backbones
from querypose_jax.backbones.names import swin_names, torchvision_resnet_names
from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import (
    NameMap,
    Source,
    conv_names,
    linear_names,
    matrix,
    norm_names,
    prefixed,
    vector,
)

# Constants of the released code's modules.
KNOWINGLY_UNUSED = re.compile(r"\.relative_position_index$|\.num_batches_tracked$")


def trunk_names(config: ConfigDict) -> NameMap:
    """The backbone; `config` is config.model.backbone.

    Raises:
        UserError: a backbone that has no official counterpart.
    """
    if config.name == "resnet":
        return prefixed(("backbone",), torchvision_resnet_names(config.depth, "backbone.0.body."))
    if config.name == "swin":
        return prefixed(("backbone",), swin_names(config.size, "backbone.0.", config.stages))
    raise UserError(f"config.model.backbone.name={config.name!r} has no official weights to exchange with")


def canonical_trunk_names(config: ConfigDict) -> NameMap:
    """The backbone alone, under the names to which files of trunks are translated; `config` is the whole one."""
    backbone = config.model.backbone
    return prefixed(("backbone",), backbones.trunk_names(backbone, used=backbone.stages))


def copied(source: Source, copies: Sequence[str]) -> Source:
    """A tensor that state dicts hold again under further names, because its module is registered more than once.

    Raises:
        UserError: when reading a file in which they differ.
    """
    (name,) = source.names

    def to_ours(tensors: Sequence[np.ndarray]) -> np.ndarray:
        for copy, tensor in zip(copies, tensors[1:], strict=True):
            if not np.array_equal(tensors[0], tensor):
                raise UserError(f"{name} and {copy} differ, and should be the same tensor: not a file of this model")
        return source.to_ours(tensors[:1])

    return Source((name, *copies), to_ours, lambda ours: [*source.to_official(ours)] * (1 + len(copies)))


def projection_names(name: str, levels: int) -> NameMap:
    """`InputProjection` <- `input_proj`."""
    names: NameMap = {}
    for level in range(levels):
        names |= prefixed(("convs", level), conv_names(f"{name}.{level}.0"))
        names |= prefixed(("norms", level), norm_names(f"{name}.{level}.1"))
    return names


def deformable_attention_names(name: str) -> NameMap:
    """`DeformableAttention`."""
    theirs = {
        "offsets": "sampling_offsets",
        "attention": "attention_weights",
        "values": "value_proj",
        "output": "output_proj",
    }
    names: NameMap = {}
    for ours, official in theirs.items():
        names |= prefixed((ours,), linear_names(f"{name}.{official}"))
    return names


def query_attention_names(name: str) -> NameMap:
    """`QueryAttention`."""
    packed = {("kernel",): matrix(f"{name}.in_proj_weight"), ("bias",): vector(f"{name}.in_proj_bias")}
    return prefixed(("in_proj",), packed) | prefixed(("out_proj",), linear_names(f"{name}.out_proj"))


def feed_forward_names(name: str) -> NameMap:
    """`FeedForward` <- `linear1`, `linear2` of the layer `name`."""
    expand, contract = linear_names(f"{name}.linear1"), linear_names(f"{name}.linear2")
    return prefixed(("expand",), expand) | prefixed(("contract",), contract)


def encoder_layer_names(name: str) -> NameMap:
    """`EncoderLayer`."""
    return (
        prefixed(("attention",), deformable_attention_names(f"{name}.self_attn"))
        | prefixed(("attention_norm",), norm_names(f"{name}.norm1"))
        | prefixed(("ffn",), feed_forward_names(name))
        | prefixed(("ffn_norm",), norm_names(f"{name}.norm2"))
    )


def encoder_names(name: str, layers: int) -> NameMap:
    """`Encoder` <- `transformer.encoder`."""
    names: NameMap = {}
    for layer in range(layers):
        names |= prefixed(("layers", layer), encoder_layer_names(f"{name}.layers.{layer}"))
    return names


def token_scores_names(name: str) -> NameMap:
    """`TokenScores` <- `transformer.enc_output` and its neighbours."""
    return (
        prefixed(("output",), linear_names(f"{name}.enc_output"))
        | prefixed(("norm",), norm_names(f"{name}.enc_output_norm"))
        | prefixed(("classes",), linear_names(f"{name}.enc_out_class_embed"))
    )


def mlp_names(name: str, layers: int) -> NameMap:
    """`MLP` of so many linear layers."""
    names: NameMap = {}
    for layer in range(layers):
        names |= prefixed(("layers", layer), linear_names(f"{name}.layers.{layer}"))
    return names
