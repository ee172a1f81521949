"""Where a SimplePose's parameters are in an official state dict."""

import re

from ml_collections import ConfigDict

from querypose_jax.layers.layouts import NameMap, conv_names, norm_names, prefixed

# Counters; and heads that are only there when a run has trained with them (no published file has).
KNOWINGLY_UNUSED = re.compile(r"\.num_batches_tracked$|^headnets\.\d\.(bghp|jitter|spread)_convs\.")
TRUNK = "basenet."


def official_names(config: ConfigDict) -> NameMap:
    """Our path -> official source for the whole model; `config` is the whole configuration."""
    stacks = config.model.backbone.stacks
    heads = {"heatmaps": "headnets.0.hp_convs", "offsets": "headnets.1.reg_convs"}
    if config.model.scale_head:
        heads["scales"] = "headnets.1.scale_convs"
    names = prefixed(("backbone",), hourglass_names(config.model.backbone, TRUNK))
    for head, name in heads.items():
        for stack in range(stacks):
            names |= prefixed((head, stack), conv_names(f"{name}.{stack}"))
    return prefixed(("network",), names)


def trunk_names(config: ConfigDict) -> NameMap:
    """The hourglass alone, under the names to which files of trunks are translated (CenterNet's multi_pose_hg_3x)."""
    return prefixed(("network", "backbone"), hourglass_names(config.model.backbone, "backbone.bottom_up."))


def hourglass_names(config: ConfigDict, prefix: str) -> NameMap:
    """`StackedHourglass` in a state dict of the release."""
    names = conv_norm_names(("stem",), f"{prefix}pre.0.conv", f"{prefix}pre.0.bn")
    names |= residual_names(("stem_block",), f"{prefix}pre.1", config.stem_dim, config.dims[0], 2)
    for stack in range(config.stacks):
        path = ("hourglasses", stack)
        names |= prefixed(path, level_names(f"{prefix}kps.{stack}", config.depth, config.dims, config.mods))
        features = f"{prefix}cnvs.{stack}"
        names |= conv_norm_names(("features", stack), f"{features}.conv", f"{features}.bn")
    for link in range(config.stacks - 1):
        for ours, theirs in (("from_input", "inters_"), ("from_features", "cnvs_")):
            names |= conv_norm_names((ours, link), f"{prefix}{theirs}.{link}.0", f"{prefix}{theirs}.{link}.1")
        names |= residual_names(("links", link), f"{prefix}inters.{link}", config.dims[0], config.dims[0], 1)
    return names


def level_names(prefix: str, depth: int, dims: tuple[int, ...], mods: tuple[int, ...]) -> NameMap:
    """One level of an hourglass and those inside."""
    outer, inner, count = dims[0], dims[1], mods[0]
    names = chain_names(("up1",), f"{prefix}.up1", [outer] * (count + 1), 1)
    names |= chain_names(("low1",), f"{prefix}.low1", [outer] + [inner] * count, 2)
    if depth > 1:
        names |= prefixed(("low2",), level_names(f"{prefix}.low2", depth - 1, dims[1:], mods[1:]))
    else:
        names |= chain_names(("low2",), f"{prefix}.low2", [inner] * (mods[1] + 1), 1)
    return names | chain_names(("low3",), f"{prefix}.low3", [inner] * count + [outer], 1)


def chain_names(path: tuple[str], prefix: str, widths: list[int], stride: int) -> NameMap:
    """Residual blocks one after the other; `widths` before the first and after each."""
    names: NameMap = {}
    for block in range(len(widths) - 1):
        fans = widths[block], widths[block + 1]
        names |= residual_names((*path, "blocks", block), f"{prefix}.{block}", *fans, 1 if block else stride)
    return names


def residual_names(path: tuple[str | int, ...], prefix: str, fan_in: int, fan_out: int, stride: int) -> NameMap:
    """A residual block, with its projection where it has one."""
    names = conv_norm_names((*path, "conv1"), f"{prefix}.conv1", f"{prefix}.bn1")
    names |= conv_norm_names((*path, "conv2"), f"{prefix}.conv2", f"{prefix}.bn2")
    if stride != 1 or fan_in != fan_out:
        names |= conv_norm_names((*path, "shortcut"), f"{prefix}.skip.0", f"{prefix}.skip.1")
    return names


def conv_norm_names(path: tuple[str | int, ...], conv: str, norm: str) -> NameMap:
    """A convolution without bias and its batch norm."""
    entries = prefixed(("conv",), conv_names(conv, bias=False)) | prefixed(("norm",), norm_names(norm, statistics=True))
    return prefixed(path, entries)
