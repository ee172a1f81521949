"""Where the backbones' parameters are in an official state dict (prefix `backbone.`)."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from querypose_jax.backbones import hrnet
from querypose_jax.backbones.resnet import BLOCKS
from querypose_jax.backbones.swin import SIZES
from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import NameMap, conv_names, linear_names, norm_names, prefixed, vector

LEVELS = (2, 3, 4, 5)


def backbone_names(config: ConfigDict, prefix: str = "backbone.") -> NameMap:
    """Our path inside `Backbone` -> official source, for `config.model.backbone`.

    Raises:
        UserError: a backbone that has no official counterpart.
    """
    pyramid = hrfpn_names(config.pyramid, prefix) if config.name == "hrnet" else fpn_names(prefix)
    return prefixed(("trunk",), trunk_names(config, f"{prefix}bottom_up.")) | prefixed(("pyramid",), pyramid)


def trunk_names(config: ConfigDict, prefix: str = "backbone.bottom_up.", used: Sequence[int] = (0, 1, 2, 3)) -> NameMap:
    """Our path inside a trunk -> the names to which files of trunks, whoever wrote them, are translated.

    Args:
        config: `config.model.backbone`.
        prefix: of the names.
        used: stages of a swin that have a norm behind them.

    Raises:
        UserError: a trunk that has no official counterpart.
    """
    if config.name == "resnet":
        return resnet_names(config.depth, prefix)
    if config.name == "hrnet":
        return hrnet_names(prefix)
    if config.name == "swin":
        return swin_names(config.size, prefix, used)
    raise UserError(f"config.model.backbone.name={config.name!r} has no official weights to exchange with")


def fpn_names(prefix: str) -> NameMap:
    """The pyramid behind a ResNet or Swin (spec of the backbones, section 3)."""
    names: NameMap = {}
    for index, level in enumerate(LEVELS):
        names |= prefixed(("laterals", index), conv_names(f"{prefix}fpn_lateral{level}"))
        names |= prefixed(("outputs", index), conv_names(f"{prefix}fpn_output{level}"))
    return names


def hrfpn_names(pyramid: str, prefix: str) -> NameMap:
    """`lateral_conv.0` of v1 and `fpn_conv.4` are never read by the released code and have no place here."""
    names = prefixed(("reduction",), conv_names(f"{prefix}reduction_conv.0"))
    for index in range(len(LEVELS)):
        names |= prefixed(("outputs", index), conv_names(f"{prefix}fpn_conv.{index}", bias=pyramid == "plain"))
        if pyramid == "v1" and index > 0:
            names |= prefixed(("laterals", index - 1), conv_names(f"{prefix}lateral_conv.{index}", bias=False))
    return names


def conv_norm_names(conv: str, norm: str) -> NameMap:
    """Our `ConvNorm` modules: a convolution without bias and a batch norm with statistics."""
    return prefixed(("conv",), conv_names(conv, bias=False)) | prefixed(("norm",), norm_names(norm, statistics=True))


def resnet_names(depth: int, prefix: str) -> NameMap:
    """A ResNet trunk of 50 or 101 layers (section 3)."""
    names = prefixed(("stem",), conv_norm_names(f"{prefix}stem.conv1", f"{prefix}stem.conv1.norm"))
    for stage, blocks in enumerate(BLOCKS[depth]):
        for block in range(blocks):
            convs = ["conv1", "conv2", "conv3"] + (["shortcut"] if block == 0 else [])
            for conv in convs:
                name = f"{prefix}res{stage + 2}.{block}.{conv}"
                names |= prefixed(("stages", stage, block, conv), conv_norm_names(name, f"{name}.norm"))
    return names


def torchvision_resnet_names(depth: int, prefix: str) -> NameMap:
    """The same trunk under torchvision's names, as DETRs keep them."""
    names = prefixed(("stem",), conv_norm_names(f"{prefix}conv1", f"{prefix}bn1"))
    for stage, blocks in enumerate(BLOCKS[depth]):
        for block in range(blocks):
            inner = f"{prefix}layer{stage + 1}.{block}."
            names |= prefixed(("stages", stage, block), residual_names(inner, convs=3))
        shortcut = sequential_names(f"{prefix}layer{stage + 1}.0.downsample")
        names |= prefixed(("stages", stage, 0, "shortcut"), shortcut)
    return names


def residual_names(prefix: str, convs: int) -> NameMap:
    """The numbered convolutions of a block."""
    names: NameMap = {}
    for k in range(1, convs + 1):
        names |= prefixed((f"conv{k}",), conv_norm_names(f"{prefix}conv{k}", f"{prefix}bn{k}"))
    return names


def sequential_names(prefix: str) -> NameMap:
    """A convolution and its norm as the first two modules of an nn.Sequential."""
    return conv_norm_names(f"{prefix}.0", f"{prefix}.1")


def hrnet_names(prefix: str) -> NameMap:
    """The same for both widths."""
    names = residual_names(prefix, convs=2)
    for block in range(hrnet.LAYER1_BLOCKS):
        names |= prefixed(("layer1", block), residual_names(f"{prefix}layer1.{block}.", convs=3))
    names |= prefixed(("layer1", 0, "shortcut"), sequential_names(f"{prefix}layer1.0.downsample"))
    # Only the first one, which keeps the size, is not nested once more.
    for index, name in enumerate(("transition1.0", "transition1.1.0", "transition2.2.0", "transition3.3.0")):
        names |= prefixed(("transitions", index), sequential_names(prefix + name))
    for stage, modules in enumerate(hrnet.MODULES):
        for module in range(modules):
            exchange = exchange_names(f"{prefix}stage{stage + 2}.{module}.", branches=stage + 2)
            names |= prefixed(("stages", stage, module), exchange)
    return names


def exchange_names(prefix: str, branches: int) -> NameMap:
    """One module of an hrnet: its residual blocks and the paths between its branches."""
    names: NameMap = {}
    for branch in range(branches):
        for block in range(hrnet.BRANCH_BLOCKS):
            residual = residual_names(f"{prefix}branches.{branch}.{block}.", convs=2)
            names |= prefixed(("branches", branch, block), residual)
    for target in range(branches):
        for source in range(branches):
            name, path = f"{prefix}fuse_layers.{target}.{source}", ("fusions", target, source, "steps")
            if source > target:
                names |= prefixed((*path, 0), sequential_names(name))
            for step in range(target - source):
                names |= prefixed((*path, step), sequential_names(f"{name}.{step}"))
    return names


def swin_names(size: str, prefix: str, used: Sequence[int] = (0, 1, 2, 3)) -> NameMap:
    """A Swin trunk (section 5) with norms behind the stages that are used."""
    depths = SIZES[size].depths
    names = prefixed(("patches", "proj"), conv_names(f"{prefix}patch_embed.proj"))
    names |= prefixed(("patches", "norm"), norm_names(f"{prefix}patch_embed.norm"))
    for index, stage in enumerate(used):
        names |= prefixed(("norms", index), norm_names(f"{prefix}norm{stage}"))
    for stage, blocks in enumerate(depths):
        for block in range(blocks):
            names |= prefixed(("stages", stage, block), swin_block_names(f"{prefix}layers.{stage}.blocks.{block}."))
    for stage in range(len(depths) - 1):
        merging = f"{prefix}layers.{stage}.downsample"
        names |= prefixed(("mergings", stage, "norm"), norm_names(f"{merging}.norm"))
        names |= prefixed(("mergings", stage, "reduction"), linear_names(f"{merging}.reduction", bias=False))
    return names


def swin_block_names(prefix: str) -> NameMap:
    """One block of a Swin."""
    return (
        {("attention", "bias_table"): vector(f"{prefix}attn.relative_position_bias_table")}
        | prefixed(("attention", "qkv"), linear_names(f"{prefix}attn.qkv"))
        | prefixed(("attention", "proj"), linear_names(f"{prefix}attn.proj"))
        | prefixed(("norm1",), norm_names(f"{prefix}norm1"))
        | prefixed(("norm2",), norm_names(f"{prefix}norm2"))
        | prefixed(("expand",), linear_names(f"{prefix}mlp.fc1"))
        | prefixed(("contract",), linear_names(f"{prefix}mlp.fc2"))
    )
