"""Which trunk and pyramid a state dict with official names is of, by names and shapes alone."""

import re
from collections.abc import Collection, Mapping
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {  # trunk in words -> keys of config.model.backbone; others are not built here
    **{f"ResNet-{depth}": {"name": "resnet", "depth": depth} for depth in (50, 101)},
    **{f"HRNet-W{width}": {"name": "hrnet", "branch_width": width} for width in (32, 48)},
    **{f"Swin-{size}": {"name": "swin", "size": size} for size in "TBL"},
}


def hrnet_pyramid(names: Collection[str]) -> str | None:
    """Which of the two pyramids of HRNet official names belong to, as in config.model.backbone.pyramid."""
    if "backbone.lateral_conv.1.weight" in names:
        return "v1"
    return "plain" if "backbone.fpn_conv.0.weight" in names else None


def trunk_in_words(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The trunk that has these names (below `backbone.bottom_up.`) and shapes, in words."""

    def blocks(pattern: str) -> int:
        return len({m[0] for m in map(re.compile(pattern).match, shapes) if m})

    if "stage4.0.branches.0.0.conv1.weight" in shapes:
        return f"HRNet-W{shapes['stage4.0.branches.0.0.conv1.weight'][0]}"
    if "patch_embed.proj.weight" in shapes and "layers.0.blocks.0.norm1.weight" in shapes:
        size = shapes["patch_embed.proj.weight"][0], blocks(r"layers\.2\.blocks\.\d+\.")
        known = {(96, 6): "T", (96, 18): "S", (128, 18): "B", (192, 18): "L"}
        return f"Swin-{known.get(size, 'x'.join(map(str, size)))}"
    if "res4.0.conv1.weight" in shapes:
        if "res4.0.conv3.weight" not in shapes:
            return "ResNet-18 or -34"
        depth = {6: "50", 23: "101", 36: "152"}.get(blocks(r"res4\.\d+\."), "?")
        return f"ResNet-{depth}"
    return None
