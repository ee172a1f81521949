"""What the peers of the deformable families share; no peer itself."""

from ml_collections import ConfigDict

from querypose_jax.bench.peers.torch_peer import why_no_peer


def about_deformable(config: ConfigDict, files: tuple[str, ...]) -> tuple[str | None, str]:
    """(why there is no peer for such a model, or None; what the peer is); `files` are its modules."""
    if backbone_kind(config.model.backbone) is None:
        return f"it has no backbone {config.model.backbone.name!r}", ""
    if missing := why_no_peer(*files):
        return missing, ""
    import torch

    return None, f"torch {torch.__version__} with deformable attention by grid_sample"


def backbone_kind(backbone: ConfigDict) -> str | None:
    """What the peers call a backbone of ours; None: they have no such one."""
    if backbone.name == "resnet":
        return f"resnet{backbone.depth}"
    known = {("T", 7): "swin_T_224_1k", ("B", 12): "swin_B_384_22k", ("L", 12): "swin_L_384_22k"}
    return known.get((backbone.size, backbone.window)) if backbone.name == "swin" else None
