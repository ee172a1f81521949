"""The PyTorch peer of ED-Pose: edpose_torch.py and deformable_torch.py, deformable attention by grid_sample.

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

FILES = ("edpose_torch", "deformable_torch")
PIXEL_CENTRE = 0.5  # added to the peer's joints, which count pixels: ours are continuous


class EDPosePeer(TorchPeer):
    """The peer with the weights of a model of ours."""

    def __init__(self, code: ModuleType, parts: ModuleType, state: nnx.State, config: ConfigDict):
        super().__init__(to_official(state, config))
        self.code, self.parts = code, parts
        model, noise = config.model, config.model.denoising
        self.config = code.EDPoseConfig(
            num_joints=get_skeleton(config.data.skeleton).num_keypoints, backbone=backbone_kind(model.backbone),
            stages=tuple(model.backbone.stages), num_feature_levels=model.levels, width=model.dim, heads=model.heads,
            points=model.decoder_points, ffn=model.ffn_dim, enc_layers=model.encoder_layers,
            dec_layers=model.decoder_layers, box_layers=model.box_layers, num_queries=model.num_queries,
            num_group=model.num_instances, num_classes=model.num_classes + 1, num_select=model.num_select,
            dn_number=noise.queries, dn_box_noise=noise.box_noise, dn_label_noise=noise.label_noise,
            dn_label_book=noise.labels,
        )  # fmt: skip

    def outputs(
        self, images: Any, sizes: list[tuple[int, int]], targets: list[dict] | None = None, noise: dict | None = None
    ) -> Any:
        """The forward pass; in training with denoising queries."""
        maps = self.parts.backbone(self.weights, self.config.backbone, images, self.config.stages)
        mask = self.parts.pixel_mask(sizes, images.shape[2:]).to(self.device)
        return self.code.forward(self.weights, self.config, maps, mask, targets, noise)

    def inference(self, batch: Batch, way: PeerWay) -> Callable[[], np.ndarray]:
        """`run() -> keypoints [B, N, K, 2]` of the selected people, continuous pixels as ours."""
        images, sizes = self.pictures(batch, self.parts.normalise)
        original = [(int(h), int(w)) for h, w in np.asarray(batch.orig_size)]

        def predict(out: Any) -> Any:
            return self.code.predict(self.config, out, original)["keypoints"] + PIXEL_CENTRE

        return self.timed_inference(lambda: self.outputs(images, sizes), predict, way)

    def training(self, batch: Batch, way: PeerWay) -> Callable[[], float]:
        """`run() -> total loss` of one step, on the same noise each time."""
        images, sizes = self.pictures(batch, self.parts.normalise)
        names = [name for name in self.code.param_shapes(self.config) if not self.parts.is_frozen(name)]
        trained = [self.weights[name].requires_grad_() for name in names]
        targets = [self.relative(people, size) for people, size in zip(self.people(batch), sizes, strict=True)]
        noise = self.code.draw_noise(self.config, [len(people["labels"]) for people in targets], seed=0)

        def loss(out: Any) -> Any:
            return sum(self.code.losses(self.config, out, targets)[1].values())

        return self.timed_step(lambda: self.outputs(images, sizes, targets, noise), loss, trained, way, clip=0.1)

    def relative(self, people: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """People as the peer's loss takes them: relative to the picture, classes from column 1."""
        height, width = size
        low, high = people["boxes"].reshape(-1, 2, 2).unbind(1)
        scale = self.tensor([width, height])
        return {
            "labels": people["labels"] + 1,
            "boxes": self.torch.cat([(low + high) / 2 / scale, (high - low) / scale], -1),
            "keypoints": people["keypoints"][..., :2] / scale,
            "visible": (people["keypoints"][..., 2] > 0).to(scale.dtype),
            "area": people["area"] / (height * width),
        }


def about(config: ConfigDict) -> tuple[str | None, str]:
    """(why there is no peer for such a model, or None; what the peer is)."""
    return about_deformable(config, FILES)


def load(config: ConfigDict, state: nnx.State) -> EDPosePeer:
    """The peer with our weights."""
    code, parts = peer_code(*FILES)
    return EDPosePeer(code, parts, jax.device_get(state), config)
