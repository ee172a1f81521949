"""What the PyTorch peers share: where their code is, a device, pictures and people as tensors, timing of a step."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from querypose_jax.bench.options import PeerWay
from querypose_jax.structures import Batch


def why_no_peer(*files: str) -> str | None:
    """What keeps the modules FILE.py from being imported; None: nothing."""
    folder = os.environ.get("QUERYPOSE_PEER", "")
    if missing := [name for name in files if not Path(folder, f"{name}.py").is_file()]:
        return f"QUERYPOSE_PEER names no folder with {missing[0]}.py"
    try:
        peer_code(*files)
    except ImportError as error:
        return f"{error.name} is not installed"
    return None


def peer_code(*files: str) -> list[ModuleType]:
    """The modules FILE.py of the folder that QUERYPOSE_PEER names."""
    folder = os.environ["QUERYPOSE_PEER"]
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return [importlib.import_module(name) for name in files]


class TorchPeer:
    """A device with tensors on it. What is left of jax in this process keeps away from a GPU."""

    def __init__(self, weights: dict[str, np.ndarray]):
        import torch  # only where a comparison is wanted

        jax.config.update("jax_platforms", "cpu")
        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32
            torch.backends.cudnn.allow_tf32 = True
        self.weights = {name: self.tensor(array) for name, array in weights.items()}

    def tensor(self, array: Any, dtype: type = np.float32) -> Any:
        """On the device, a copy."""
        return self.torch.tensor(np.asarray(array, dtype), device=self.device)

    def wait(self) -> None:
        """Returns when the device has done what it was told."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def pictures(self, batch: Batch, normalise: Callable) -> tuple[Any, list[tuple[int, int]]]:
        """Pictures [B, 3, H, W], normalised and padded with zeros, and the size of each."""
        sizes = [(int(h), int(w)) for h, w in np.asarray(batch.valid_size)]
        padded = self.torch.zeros(len(sizes), 3, *batch.image.shape[1:3])
        for i, (height, width) in enumerate(sizes):
            padded[i, :, :height, :width] = normalise(np.asarray(batch.image[i, :height, :width]))
        return padded.to(self.device), sizes

    def people(self, batch: Batch) -> list[dict[str, Any]]:
        """Labels, boxes, keypoints and areas of each picture, network pixels."""
        return [
            {
                "labels": self.tensor(np.asarray(batch.label)[i, rows], np.int64),
                "boxes": self.tensor(np.asarray(batch.boxes)[i, rows]),
                "keypoints": self.tensor(np.asarray(batch.keypoints)[i, rows]),
                "area": self.tensor(np.asarray(batch.area)[i, rows]),
            }
            for i, rows in enumerate(np.asarray(batch.is_person))
        ]

    def timed_inference(self, forward: Callable, predict: Callable, way: PeerWay) -> Callable[[], np.ndarray]:
        """`run() -> predict(forward())` without gradients, as a numpy array."""
        step = self.torch.compile(forward) if way.compiled else forward
        narrow = self.torch.autocast(self.device, self.torch.bfloat16, enabled=way.dtype == "bfloat16")

        def run() -> np.ndarray:
            with self.torch.inference_mode(), narrow:
                found = predict(step())
            self.wait()
            return np.asarray(found.float().cpu())

        return run

    def timed_step(
        self, forward: Callable, loss: Callable, trained: list, way: PeerWay, clip: float
    ) -> Callable[[], float]:
        """`run() -> total loss` of one step: forward, backward, clipping (0: none) and AdamW."""
        torch = self.torch
        optimizer = torch.optim.AdamW(trained, lr=2.5e-5, weight_decay=1e-4)
        step = torch.compile(forward) if way.compiled else forward
        narrow = torch.autocast(self.device, torch.bfloat16, enabled=way.dtype == "bfloat16")

        def run() -> float:
            optimizer.zero_grad(set_to_none=True)
            with narrow:
                total = loss(step())
            total.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(trained, clip)
            optimizer.step()
            return total.item()

        return run
