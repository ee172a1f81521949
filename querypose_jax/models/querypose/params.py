"""Where a QueryPose's parameters are in an official state dict."""

import re

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import (
    NameMap,
    Source,
    conv_names,
    linear_names,
    matrix,
    norm_names,
    prefixed,
    stacked,
    transposed_kernel,
    vector,
)
from querypose_jax.skeletons import Skeleton

# Official tensors that carry no information for us: never applied by the released code, counters and constants.
KNOWINGLY_UNUSED = re.compile(
    r"\.updater\.(fc3|norm_fc3)\.|\.num_batches_tracked$|\.flow\.mask$|\.relative_position_index$|fpn_conv\.4\."
    r"|lateral_conv\.0\."
)

# What the released model has; the ablations' layers have no official names.
RELEASED = {"pose_query": "part", "part_reading": "attention", "iteration": "selective"}


def head_names(config: ConfigDict, skeleton: Skeleton) -> NameMap:
    """Everything after the pyramid.

    Raises:
        UserError: an ablation, whose layers no released file has.
    """
    for key, released in RELEASED.items():
        if config[key] != released:
            raise UserError(
                f"config.model.{key}={config[key]!r} has layers without official names; "
                f"those of the released model ({released!r}) have some"
            )
    names: NameMap = {
        ("proposal_boxes",): vector("init_proposal_boxes.weight"),
        ("proposal_queries",): vector("init_proposal_features.weight"),
        ("part_queries",): vector("part_query.weight"),
    }
    for stage in range(config.stages):
        names |= prefixed(("box_decoders", stage), box_decoder_names(config, f"head.head_series.{stage}."))
        pose = pose_decoder_names(config, skeleton, f"head.pose_head_series.{stage}.")
        names |= prefixed(("pose_decoders", stage), pose)
    for coupling in range(config.flow_couplings):
        for ours, theirs in (("scales", "s"), ("shifts", "t")):
            for layer in range(3):
                path = ("flow", ours, coupling, "layers", layer)
                names |= prefixed(path, linear_names(f"criterion.flow.flow.{theirs}.{coupling}.{2 * layer}"))
    return names


def attention_names(name: str) -> NameMap:
    packed = {("kernel",): matrix(f"{name}.in_proj_weight"), ("bias",): vector(f"{name}.in_proj_bias")}
    return prefixed(("in_proj",), packed) | prefixed(("out_proj",), linear_names(f"{name}.out_proj"))


def dynamic_conv_names(name: str) -> NameMap:
    names = prefixed(("dynamic_layer",), linear_names(f"{name}.dynamic_layer"))
    names |= prefixed(("out_layer",), linear_names(f"{name}.out_layer"))
    for norm in ("norm1", "norm2", "norm3"):
        names |= prefixed((norm,), norm_names(f"{name}.{norm}"))
    return names


def feed_forward_names(first: str, second: str) -> NameMap:
    return prefixed(("expand",), linear_names(first)) | prefixed(("contract",), linear_names(second))


def tower_names(name: str, depth: int) -> NameMap:
    names: NameMap = {}
    for layer in range(depth):
        names |= prefixed(("linears", layer), linear_names(f"{name}.{3 * layer}", bias=False))
        names |= prefixed(("norms", layer), norm_names(f"{name}.{3 * layer + 1}"))
    return names


def box_decoder_names(config: ConfigDict, prefix: str) -> NameMap:
    return (
        prefixed(("attention",), attention_names(f"{prefix}self_attn"))
        | prefixed(("attention_norm",), norm_names(f"{prefix}norm1"))
        | prefixed(("interaction",), dynamic_conv_names(f"{prefix}inst_interact"))
        | prefixed(("interaction_norm",), norm_names(f"{prefix}norm2"))
        | prefixed(("ffn",), feed_forward_names(f"{prefix}linear1", f"{prefix}linear2"))
        | prefixed(("ffn_norm",), norm_names(f"{prefix}norm3"))
        | prefixed(("class_tower",), tower_names(f"{prefix}cls_module", config.class_layers))
        | prefixed(("box_tower",), tower_names(f"{prefix}reg_module", config.box_layers))
        | prefixed(("class_logits",), linear_names(f"{prefix}class_logits"))
        | prefixed(("box_deltas",), linear_names(f"{prefix}bboxes_delta"))
    )


def pose_decoder_names(config: ConfigDict, skeleton: Skeleton, prefix: str) -> NameMap:
    names: NameMap = {}
    for conv in range(config.pose_convs):
        names |= prefixed(("convs", conv), conv_names(f"{prefix}inst_convs.{2 * conv}"))
    if not config.light:
        names |= prefixed(("interaction",), dynamic_conv_names(f"{prefix}pose_decoder_inst_interact"))
        names |= prefixed(("interaction_norm",), norm_names(f"{prefix}inst_norm"))
        names |= prefixed(("query_ffn",), feed_forward_names(f"{prefix}linear1", f"{prefix}linear2"))
        names |= prefixed(("query_ffn_norm",), norm_names(f"{prefix}norm2"))
    return (
        names
        | prefixed(("part_residuals",), part_residual_names(f"{prefix}residual_filter", len(skeleton.parts)))
        | prefixed(("part_embedding",), part_embedding_names(f"{prefix}part_embed_generator."))
        | prefixed(("selective_iteration",), selective_iteration_names(f"{prefix}updater."))
        | prefixed(("attention",), attention_names(f"{prefix}kps_self_attn"))
        | prefixed(("attention_norm",), norm_names(f"{prefix}self_attn_norm"))
        | prefixed(("ffn",), feed_forward_names(f"{prefix}linear1_l", f"{prefix}linear2_l"))
        | prefixed(("ffn_norm",), norm_names(f"{prefix}norm2_l"))
        | prefixed(("coordinates",), keypoint_head_names(f"{prefix}fc_coord", skeleton))
        | prefixed(("uncertainty",), keypoint_head_names(f"{prefix}fc_sigma", skeleton))
    )


def part_residual_names(name: str, parts: int) -> NameMap:
    return {
        ("kernel",): stacked([matrix(f"{name}.{part}.weight") for part in range(parts)]),
        ("bias",): stacked([vector(f"{name}.{part}.bias") for part in range(parts)]),
    }


def part_embedding_names(prefix: str) -> NameMap:
    return (
        {("upsample", "kernel"): transposed_kernel(f"{prefix}upsample.0.weight")}
        | prefixed(("norm",), norm_names(f"{prefix}upsample.1", statistics=True))
        | prefixed(("attention",), conv_names(f"{prefix}LSA_conv"))
        | prefixed(("project",), linear_names(f"{prefix}fc"))
    )


def selective_iteration_names(prefix: str) -> NameMap:
    return (
        prefixed(("squeeze",), linear_names(f"{prefix}fc1", bias=False))
        | prefixed(("norm",), norm_names(f"{prefix}norm_fc1"))
        | prefixed(("expand",), linear_names(f"{prefix}fc2"))
    )


def keypoint_head_names(name: str, skeleton: Skeleton) -> NameMap:
    """Part k's layer holds rows (x, y) of its joints in the part's order; ours holds all joints in skeleton order."""
    names = [f"{name}.{part}.linear" for part in range(len(skeleton.parts))]
    counts = [len(joints) for _, joints in skeleton.parts]
    to_skeleton = np.argsort(skeleton.part_order)
    cuts = 2 * np.cumsum(counts)[:-1]

    def join(tensors):  # [2 n, ...] per part -> [K, 2, ...]
        rows = np.concatenate(tensors)
        return rows.reshape(-1, 2, *rows.shape[1:])[to_skeleton]

    def split(joints):
        rows = joints[list(skeleton.part_order)]
        return np.split(rows.reshape(-1, *rows.shape[2:]), cuts)

    return {
        ("kernel",): Source(
            tuple(f"{layer}.weight" for layer in names),
            lambda x: join(x).transpose(0, 2, 1),
            lambda x: split(x.transpose(0, 2, 1)),
        ),
        ("bias",): Source(tuple(f"{layer}.bias" for layer in names), join, split),
    }
