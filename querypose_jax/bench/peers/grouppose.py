"""The PyTorch peer of Group Pose: grouppose_torch.py and deformable_torch.py, deformable attention by grid_sample.

It gets our weights under their released names, so that both compute the same numbers. On a GPU the fair peer would be
the release's compiled kernel.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.bench.options import PeerWay
from querypose_jax.bench.peers.deformable_peer import about_deformable, backbone_kind
from querypose_jax.bench.peers.torch_peer import TorchPeer, peer_code
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch
from querypose_jax.weights import to_official

FILES = ("grouppose_torch", "deformable_torch")


class GroupPosePeer(TorchPeer):
    """The peer with the weights of a model of ours."""

    def __init__(self, code: ModuleType, parts: ModuleType, state: nnx.State, config: ConfigDict):
        super().__init__(to_official(state, config))
        self.code, self.parts = code, parts
        model = config.model
        self.config = code.Config(
            joints=get_skeleton(config.data.skeleton).num_keypoints, width=model.dim, heads=model.heads,
            levels=model.levels, enc_points=model.encoder_points, dec_points=model.decoder_points,
            enc_layers=model.encoder_layers, dec_layers=model.decoder_layers, queries=model.num_queries,
            ffn=model.ffn_dim, num_classes=model.num_classes + 1, num_select=model.num_select,
            backbone=backbone_kind(model.backbone), stages=tuple(model.backbone.stages),
            faithful_aux=model.faithful_aux,
        )  # fmt: skip

    def outputs(self, images: Any, sizes: list[tuple[int, int]]) -> Any:
        """The forward pass."""
        maps = self.parts.backbone(self.weights, self.config.backbone, images, self.config.stages)
        mask = self.parts.pixel_mask(sizes, images.shape[2:]).to(self.device)
        return self.code.forward(self.weights, self.config, maps, mask)

    def inference(self, batch: Batch, way: PeerWay) -> Callable[[], np.ndarray]:
        """`run() -> keypoints [B, N, K, 2]` of the selected people, continuous pixels as ours."""
        images, sizes = self.pictures(batch, self.parts.normalise)
        original = [(int(h), int(w)) for h, w in np.asarray(batch.orig_size)]

        def predict(out: Any) -> Any:
            return self.code.predict(self.config, out, original)["keypoints"][..., :2] + 0.5

        return self.timed_inference(lambda: self.outputs(images, sizes), predict, way)

    def training(self, batch: Batch, way: PeerWay) -> Callable[[], float]:
        """`run() -> total loss` of one step."""
        images, sizes = self.pictures(batch, self.parts.normalise)
        names = self.code.trainable(self.config)
        trained = [self.weights[name].requires_grad_() for name in names]
        targets = [self.relative(people, size) for people, size in zip(self.people(batch), sizes, strict=True)]

        def loss(out: Any) -> Any:
            return sum(self.code.losses(self.config, out, targets)[1].values())

        return self.timed_step(lambda: self.outputs(images, sizes), loss, trained, way, clip=0.1)

    def relative(self, people: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """People as the peer's loss takes them: relative to the picture, classes from column 1."""
        height, width = size
        scale = self.tensor([width, height, 1])
        return {
            "labels": people["labels"] + 1,
            "keypoints": people["keypoints"] / scale,
            "area": people["area"] / (height * width),
        }


def about(config: ConfigDict) -> tuple[str | None, str]:
    """(why there is no peer for such a model, or None; what the peer is)."""
    return about_deformable(config, FILES)


def load(config: ConfigDict, state: nnx.State) -> GroupPosePeer:
    """The peer with our weights."""
    code, parts = peer_code(*FILES)
    return GroupPosePeer(code, parts, jax.device_get(state), config)
