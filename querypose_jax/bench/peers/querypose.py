"""The PyTorch peer of QueryPose: querypose_torch.py and backbones_torch.py.

It gets our weights under their released names, so that both compute the same numbers.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.bench.options import PeerWay
from querypose_jax.bench.peers.torch_peer import TorchPeer, peer_code, why_no_peer
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch
from querypose_jax.weights import to_official

FILES = ("querypose_torch", "backbones_torch")


class QueryPosePeer(TorchPeer):
    """The peer with the weights of a model of ours."""

    def __init__(self, head: ModuleType, backbones: ModuleType, state: nnx.State, config: ConfigDict):
        super().__init__(to_official(state, config))
        self.head, self.backbones = head, backbones
        self.kind = backbone_kind(config.model.backbone)
        self.config = head.HeadConfig(
            parts=get_skeleton(config.data.skeleton).parts, num_proposals=config.model.num_proposals,
            light=config.model.light, stages=config.model.stages,
        )  # fmt: skip
        self._fill(head.param_shapes(self.config))
        if not use_kernel_of_torchvision(head):
            round_own_roi_align(head)

    def _fill(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """What the released code stores but we do not: constants and tensors that it never reads."""
        masks = [[0.0, 1.0], [1.0, 0.0]] * (self.config.flow_layers // 2)
        for name, shape in shapes.items():
            if name not in self.weights:
                self.weights[name] = self.tensor(masks if name.endswith("flow.mask") else np.zeros(shape))

    def pyramid(self, images: Any) -> list[Any]:
        """P2..P5; batch norms of an HRNet take the batch's statistics where gradients are wanted."""
        levels = self.backbones.forward(self.kind, self.weights, images, train_bn=self.torch.is_grad_enabled())
        return [levels[f"p{level}"] for level in (2, 3, 4, 5)]

    def inference(self, batch: Batch, way: PeerWay) -> Callable[[], np.ndarray]:
        """`run() -> keypoints [B, N, K, 2]` of all queries, as released."""
        images, sizes = self.pictures(batch, self.backbones.normalise)

        def forward() -> Any:
            return self.head.forward(self.weights, self.config, self.pyramid(images), sizes)

        def predict(out: Any) -> Any:
            poses = self.head.predict(self.config, out, sizes)
            return self.torch.stack([one["keypoints"][..., :2] for one in poses])

        return self.timed_inference(forward, predict, way)

    def training(self, batch: Batch, way: PeerWay) -> Callable[[], float]:
        """`run() -> total loss` of one step."""
        images, sizes = self.pictures(batch, self.backbones.normalise)
        frozen = set(self.backbones.frozen_names(self.kind)) | {n for n in self.weights if self.head.is_buffer(n)}
        trained = [w.requires_grad_() for name, w in self.weights.items() if name not in frozen]
        targets = [people | {"size": size} for people, size in zip(self.people(batch), sizes, strict=True)]

        def forward() -> Any:
            return self.head.forward(self.weights, self.config, self.pyramid(images), sizes, targets)

        def loss(out: Any) -> Any:
            return sum(self.head.losses(self.weights, self.config, out, targets)[1].values())

        return self.timed_step(forward, loss, trained, way, clip=1.0)


def about(config: ConfigDict) -> tuple[str | None, str]:
    """(why there is no peer for such a model, or None; what the peer is)."""
    if backbone_kind(config.model.backbone) is None:
        return f"it has no backbone {config.model.backbone.name!r}", ""
    if missing := why_no_peer(*FILES):
        return missing, ""
    kernel = "torchvision" if use_kernel_of_torchvision(peer_code(*FILES)[0]) else "plain PyTorch"
    import torch

    return None, f"torch {torch.__version__} with RoIAlign of {kernel}"


def load(config: ConfigDict, state: nnx.State) -> QueryPosePeer:
    """The peer with our weights."""
    head, backbones = peer_code(*FILES)
    return QueryPosePeer(head, backbones, jax.device_get(state), config)


def use_kernel_of_torchvision(head: ModuleType) -> bool:
    """Replaces the peer's plain RoIAlign by torchvision's, which the released code runs; False without it."""
    try:
        from torchvision.extension import _has_ops
        from torchvision.ops import roi_align
    except ImportError:
        return False
    if not _has_ops():  # torchvision without its compiled part would fall back to something slower than the peer's
        return False
    import torch

    def pool(features, boxes, picture, scale, cells, sampling=2):
        rois = torch.cat([picture[:, None].to(boxes), boxes], 1).float()
        # Its CUDA kernel has no bfloat16; autocast does the same around it.
        return roi_align(features.float(), rois, cells, scale, sampling, aligned=True).to(features.dtype)

    vars(head)["roi_align"] = pool
    return True


def round_own_roi_align(head: ModuleType) -> None:
    """The peer's plain RoIAlign computes in float32 on bfloat16 maps, and its result is wanted like the maps."""
    own = head.roi_align
    vars(head)["roi_align"] = lambda features, *rest: own(features, *rest).to(features.dtype)


def backbone_kind(backbone: ConfigDict) -> str | None:
    """What the peer calls a backbone of ours; None: it has no such one."""
    match backbone.name:
        case "resnet":
            return f"r{backbone.depth}_fpn"
        case "hrnet":
            return f"hrnet_w{backbone.branch_width}"
        case "swin":
            return f"swin_{backbone.size.lower()}"
    return None
