"""Where the backbones' parameters are in an official state dict (prefix `backbone.`)."""

from ml_collections import ConfigDict

from querypose_jax.backbones.resnet import BLOCKS
from querypose_jax.errors import UserError
from querypose_jax.layers.layouts import NameMap, conv_names, norm_names, prefixed

LEVELS = (2, 3, 4, 5)


def backbone_names(config: ConfigDict, prefix: str = "backbone.") -> NameMap:
    """Our path inside `Backbone` -> official source, for `config.model.backbone`.

    Raises:
        UserError: a backbone that has no official counterpart.
    """
    if config.name != "resnet":
        raise UserError(f"config.model.backbone.name={config.name!r} has no official weights to exchange with")
    return prefixed(("trunk",), resnet_names(config.depth, f"{prefix}bottom_up.")) | prefixed(
        ("pyramid",), fpn_names(prefix)
    )


def fpn_names(prefix: str) -> NameMap:
    names: NameMap = {}
    for index, level in enumerate(LEVELS):
        names |= prefixed(("laterals", index), conv_names(f"{prefix}fpn_lateral{level}"))
        names |= prefixed(("outputs", index), conv_names(f"{prefix}fpn_output{level}"))
    return names


def resnet_names(depth: int, prefix: str) -> NameMap:
    def conv_norm(name):
        return prefixed(("conv",), conv_names(name, bias=False)) | prefixed(
            ("norm",), norm_names(f"{name}.norm", statistics=True)
        )

    names = prefixed(("stem",), conv_norm(f"{prefix}stem.conv1"))
    for stage, blocks in enumerate(BLOCKS[depth]):
        for block in range(blocks):
            convs = ["conv1", "conv2", "conv3"] + (["shortcut"] if block == 0 else [])
            for conv in convs:
                names |= prefixed(("stages", stage, block, conv), conv_norm(f"{prefix}res{stage + 2}.{block}.{conv}"))
    return names
