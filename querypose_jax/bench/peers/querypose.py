"""The PyTorch peer: an independent implementation of the same model, run by turns with ours.

`QUERYPOSE_PEER` names the folder with querypose_torch.py and backbones_torch.py; torch must be installed. It gets our
weights under their released names, so that both compute the same numbers.
"""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.bench.options import PeerWay
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch
from querypose_jax.weights import to_official


class PeerCode:
    """The peer's functions."""

    def __init__(self, folder: str):
        import torch  # only where a comparison is wanted

        if folder not in sys.path:
            sys.path.insert(0, folder)
        self.torch = torch
        self.head, self.backbones = (importlib.import_module(f"{name}_torch") for name in ("querypose", "backbones"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32
            torch.backends.cudnn.allow_tf32 = True

    def use_kernel_of_torchvision(self) -> bool:
        """Replaces the peer's plain RoIAlign by torchvision's, which the released code runs; False without it."""
        try:
            from torchvision.extension import _has_ops
            from torchvision.ops import roi_align
        except ImportError:
            return False
        if not _has_ops():  # torchvision without its compiled part would fall back to something slower than the peer's
            return False

        def pool(features, boxes, picture, scale, cells, sampling=2):
            rois = self.torch.cat([picture[:, None].to(boxes.dtype), boxes], 1)
            return roi_align(features, rois, cells, scale, sampling, aligned=True)

        vars(self.head)["roi_align"] = pool
        return True

    def round_own_roi_align(self) -> None:
        """The peer's plain RoIAlign computes in float32 on bfloat16 maps, and its result is wanted like the maps."""
        own = self.head.roi_align
        vars(self.head)["roi_align"] = lambda features, *rest: own(features, *rest).to(features.dtype)

    def wait(self) -> None:
        """Returns when the device has done what it was told."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()


class Peer(PeerCode):
    """The peer with the weights of a model of ours."""

    def __init__(self, folder: str, state: nnx.State, config: ConfigDict):
        super().__init__(folder)
        self.kind = backbone_kind(config.model.backbone)
        self.config = self.head.HeadConfig(
            parts=get_skeleton(config.data.skeleton).parts, num_proposals=config.model.num_proposals,
            light=config.model.light, stages=config.model.stages,
        )  # fmt: skip
        self.weights = {
            name: self.torch.tensor(np.asarray(array), device=self.device)
            for name, array in to_official(state, config).items()
        }
        self._fill(self.head.param_shapes(self.config))

    def _fill(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """What the released code stores but we do not: constants and tensors that it never reads."""
        masks = [[0.0, 1.0], [1.0, 0.0]] * (self.config.flow_layers // 2)
        for name, shape in shapes.items():
            if name not in self.weights:
                value = masks if name.endswith("flow.mask") else np.zeros(shape)
                self.weights[name] = self.torch.tensor(np.asarray(value, np.float32), device=self.device)

    def pictures(self, batch: Batch) -> tuple[Any, list[tuple[int, int]]]:
        """Normalised pictures [B, 3, H, W] and their sizes."""
        images = [
            self.backbones.normalise(np.asarray(image[:height, :width]))
            for image, (height, width) in zip(batch.image, np.asarray(batch.valid_size).tolist(), strict=True)
        ]
        height, width = batch.image.shape[1:3]
        padded = self.torch.zeros(len(images), 3, height, width)
        for i, image in enumerate(images):
            padded[i, :, : image.shape[1], : image.shape[2]] = image
        return padded.to(self.device), [tuple(size) for size in np.asarray(batch.valid_size).tolist()]

    def pyramid(self, images: Any) -> list[Any]:
        """P2..P5; batch norms of an HRNet take the batch's statistics where gradients are wanted."""
        levels = self.backbones.forward(self.kind, self.weights, images, train_bn=self.torch.is_grad_enabled())
        return [levels[f"p{level}"] for level in (2, 3, 4, 5)]

    def inference(self, batch: Batch, way: PeerWay) -> Callable[[], np.ndarray]:
        """`run() -> keypoints [B, N, K, 2]` of all queries, as released."""
        torch, (images, sizes) = self.torch, self.pictures(batch)

        def forward(images):
            return self.head.forward(self.weights, self.config, self.pyramid(images), sizes)

        step = torch.compile(forward) if way.compiled else forward
        narrow = torch.autocast(self.device, torch.bfloat16, enabled=way.dtype == "bfloat16")

        def run() -> np.ndarray:
            with torch.inference_mode(), narrow:
                poses = self.head.predict(self.config, step(images), sizes)
            self.wait()
            return np.stack([np.asarray(one["keypoints"].float().cpu())[..., :2] for one in poses])

        return run

    def training(self, batch: Batch, way: PeerWay) -> Callable[[], float]:
        """`run() -> total loss` of one step: forward, backward, clipping and AdamW."""
        torch, (images, sizes) = self.torch, self.pictures(batch)
        frozen = set(self.backbones.frozen_names(self.kind)) | {n for n in self.weights if self.head.is_buffer(n)}
        trained = [w.requires_grad_() for name, w in self.weights.items() if name not in frozen]
        optimizer = torch.optim.AdamW(trained, lr=2.5e-5, weight_decay=1e-4)
        targets = self.targets(batch, sizes)
        narrow = torch.autocast(self.device, torch.bfloat16, enabled=way.dtype == "bfloat16")

        def forward(images):
            return self.head.forward(self.weights, self.config, self.pyramid(images), sizes, targets)

        step = torch.compile(forward) if way.compiled else forward

        def run() -> float:
            optimizer.zero_grad(set_to_none=True)
            with narrow:
                out = step(images)
                total = sum(self.head.losses(self.weights, self.config, out, targets)[1].values())
            total.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            return total.item()

        return run

    def targets(self, batch: Batch, sizes: list[tuple[int, int]]) -> list[dict]:
        """The people of a batch as the peer takes them: one dict per picture, network pixels."""

        def tensor(array, dtype=np.float32):
            return self.torch.tensor(np.asarray(array, dtype), device=self.device)

        people = np.asarray(batch.is_person)
        return [
            {
                "labels": tensor(np.asarray(batch.label)[i, rows], np.int64),
                "boxes": tensor(np.asarray(batch.boxes)[i, rows]),
                "keypoints": tensor(np.asarray(batch.keypoints)[i, rows]),
                "size": sizes[i],
            }
            for i, rows in enumerate(people)
        ]


def import_peer() -> PeerCode | str:
    """The peer's code, or why there is none."""
    folder = os.environ.get("QUERYPOSE_PEER", "")
    if not Path(folder, "querypose_torch.py").is_file():
        return "QUERYPOSE_PEER names no folder with querypose_torch.py"
    try:
        return PeerCode(folder)
    except ImportError as error:
        return f"{error.name} is not installed"


def about(config: ConfigDict) -> tuple[str | None, str]:
    """(why there is no peer for such a model, or None; what the peer is)."""
    if backbone_kind(config.model.backbone) is None:
        return f"it has no backbone {config.model.backbone.name!r}", ""
    peer = import_peer()
    if isinstance(peer, str):
        return peer, ""
    kernel = "torchvision" if peer.use_kernel_of_torchvision() else "plain PyTorch"
    return None, f"torch {peer.torch.__version__} with RoIAlign of {kernel}"


def load(config: ConfigDict, state: nnx.State) -> Peer:
    """The peer with our weights. What is left of jax in its process keeps away from a GPU."""
    jax.config.update("jax_platforms", "cpu")
    peer = Peer(os.environ["QUERYPOSE_PEER"], jax.device_get(state), config)
    if not peer.use_kernel_of_torchvision():
        peer.round_own_roi_align()
    return peer


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
