"""The PyTorch peer of SimplePose V2: simplepose_torch.py. Networks on the device; people are grouped on the host.

It gets our weights under their released names, so that both compute the same numbers. Its training step is given the
heatmaps and offsets that the pictures should have, which ours makes itself.
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

FILES = ("simplepose_torch",)
SHAPE = ("depth", "dims", "mods", "stem_dim", "feature_dim", "stacks")  # keys of the backbone, named alike there


class SimplePosePeer(TorchPeer):
    """The peer with the weights of a model of ours."""

    def __init__(self, code: ModuleType, state: nnx.State, config: ConfigDict):
        super().__init__(to_official(state, config))
        skeleton = get_skeleton(config.data.skeleton)
        self.code, self.settings = code, config.model
        self.config = code.Config(
            joints=skeleton.names,
            limbs=skeleton.limbs,
            sigmas=skeleton.sigmas,
            scale_head=config.model.scale_head,
            **{key: config.model.backbone[key] for key in SHAPE},
        )

    def inference(self, batch: Batch, way: PeerWay) -> Callable[[], np.ndarray]:
        """`run() -> keypoints [B, N, K, 2]`, people best first, then zeros, continuous pixels as ours."""
        images, _ = self.pictures(batch, self.code.normalise)
        affine = np.asarray(batch.inv_affine)

        def predict(out: dict[str, list]) -> Any:
            found = np.zeros((len(images), self.settings.decode.people, len(self.config.joints), 2))
            maps = (out[name][-1].float() for name in ("heatmaps", "offsets"))
            for keypoints, people, inverse in zip(found, self.decode(*maps), affine, strict=True):
                keypoints[: len(people)] = people[..., :2] @ inverse[:, :2].T + inverse[:, 2] + 0.5
            return self.tensor(found)

        return self.timed_inference(lambda: self.code.forward(self.weights, self.config, images), predict, way)

    def decode(self, heatmaps: Any, offsets: Any) -> list[np.ndarray]:
        """The people [P, K, 6] of each picture from maps [B, K, h, w] and [B, 2E, h, w], network pixels."""
        code, decode = self.code, self.settings.decode
        heatmaps, offsets = code.upsample(heatmaps, offsets)
        candidates = code.candidates(heatmaps, decode.candidates, decode.heatmap_threshold)
        limbs = code.limb_candidates(*candidates, offsets, self.config).cpu().numpy()
        return [
            code.select(code.group(one, self.config, decode.max_distance), decode.person_threshold) for one in limbs
        ]

    def training(self, batch: Batch, way: PeerWay) -> Callable[[], float]:
        """`run() -> total loss` of one step."""
        images, _ = self.pictures(batch, self.code.normalise)
        targets, gamma = self.targets(batch), self.settings.loss.focal_gamma
        trained = [weight.requires_grad_() for name, weight in self.weights.items() if not self.code.is_buffer(name)]

        def forward() -> dict[str, list]:
            return self.code.forward(self.weights, self.config, images, train=True)

        return self.timed_step(forward, lambda out: self.code.losses(out, targets, gamma)[1], trained, way, clip=0)

    def targets(self, batch: Batch) -> dict[str, Any]:
        """What the maps should hold, with the released widths of Gaussians and windows."""
        size = batch.image.shape[1:3]
        made = []
        for i, rows in enumerate(np.asarray(batch.is_person)):
            joints, scale = np.asarray(batch.keypoints)[i, rows], np.asarray(batch.person_scale)[i, rows]
            sized = np.concatenate([joints, (scale[:, None] * np.array(self.config.sigmas))[..., None]], -1)
            offsets, scales, person_scale = self.code.offset_targets(sized, self.config, size)
            made.append((self.code.heatmap_targets(sized, self.config, size), offsets, scales, person_scale))
        names = ("heatmaps", "offsets", "scales", "person_scale")
        targets = {name: self.tensor(np.stack(maps)) for name, maps in zip(names, zip(*made, strict=True), strict=True)}
        everywhere = np.ones((len(made), 1, *targets["heatmaps"].shape[2:]), bool)
        return targets | {"mask": self.tensor(everywhere, bool)}


def about(config: ConfigDict) -> tuple[str | None, str]:
    """(why there is no peer for such a model, or None; what the peer is)."""
    if missing := why_no_peer(*FILES):
        return missing, ""
    import torch

    return None, f"torch {torch.__version__}, which groups people in numpy; its step is given the maps to learn"


def load(config: ConfigDict, state: nnx.State) -> SimplePosePeer:
    """The peer with our weights."""
    (code,) = peer_code(*FILES)
    return SimplePosePeer(code, jax.device_get(state), config)
