"""RoIAlign, all paths, forward and backward, beside torchvision's or the peer's.

    python -m querypose_jax.bench roi_align --config=configs/coco_r50.py

RoIAlign is bound by memory: the floor is the time to write the pooled features once and to read what they are made of
once (the maps, or 16 numbers for each pooled one where that is less), at the measured speed of a copy. Twice that with
the backward pass.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from kernels.roi_align import roi_align
from querypose_jax.backbones.fpn import PYRAMID_STRIDES
from querypose_jax.bench.options import Options
from querypose_jax.bench.peers.querypose import FILES, use_kernel_of_torchvision
from querypose_jax.bench.peers.torch_peer import TorchPeer, peer_code, why_no_peer
from querypose_jax.bench.timing import Times, ratio, table, take_turns
from querypose_jax.bench.workload import copy_speed

CASES = {"7x7, P2..P5": (7, PYRAMID_STRIDES), "14x14, P2": (14, PYRAMID_STRIDES[:1])}
QUERIES, CHANNELS = 100, 256  # of a QueryPose


def run(config: ConfigDict, options: Options) -> str:
    """Times each path on each case, forward and forward + backward; returns the table."""
    paths = ["gather", "dense"] + (["triton"] if jax.default_backend() == "gpu" else [])
    rows = []
    for case, (cells, strides) in CASES.items():
        pyramid, boxes, picture = workload(config, options, strides)
        candidates: dict[str, Callable[[], object]] = {}
        for path in paths:
            candidates |= ours(path, pyramid, boxes, picture, strides, cells)
        candidates |= theirs(pyramid, boxes, picture, strides, cells)
        once = floor_bytes(pyramid, boxes, cells) / copy_speed()
        floor = {"forward": once, "forward + backward": 2 * once}
        rows += as_rows(case, take_turns(candidates, options.rounds), floor)
    head = ["case", "what", "floor ms", "median ms", "of floor", "of peer"]
    count = f"{options.pictures} x {options.canvas[0]} x {options.canvas[1]}, {QUERIES} boxes each"
    return f"{jax.devices()[0].device_kind}, {config.model.dtype}, {count}\n\n{table(head, rows)}"


def workload(
    config: ConfigDict, options: Options, strides, queries: int = QUERIES
) -> tuple[list, jax.Array, jax.Array]:
    """Random features, and so many boxes of all sizes on each picture."""
    rng = np.random.default_rng(0)
    height, width = options.canvas
    pyramid = [
        jnp.asarray(rng.standard_normal((options.pictures, height // s, width // s, CHANNELS)), config.model.dtype)
        for s in strides
    ]
    count = options.pictures * queries
    corner = rng.uniform(0, 0.7, (count, 2)) * (width, height)
    size = np.exp(rng.uniform(np.log(16), np.log(500), (count, 2)))
    boxes = jnp.asarray(np.concatenate([corner, corner + size], -1), jnp.float32)
    return pyramid, boxes, jnp.repeat(jnp.arange(options.pictures), queries)


def ours(path, pyramid, boxes, picture, strides, cells) -> dict[str, Callable]:
    """One path of ours, forward and with the gradient of the pyramid."""

    def forward(pyramid):
        return roi_align(pyramid, boxes, picture, strides, cells, path)

    def backward(pyramid):
        pooled, pull = jax.vjp(forward, pyramid)
        return pull(pooled)

    compiled = {f"{path} forward": jax.jit(forward), f"{path} forward + backward": jax.jit(backward)}
    return {name: lambda f=f: jax.block_until_ready(f(pyramid)) for name, f in compiled.items()}


def theirs(pyramid, boxes, picture, strides, cells) -> dict[str, Callable]:
    """torchvision's kernel on each box's own level where it is installed, else the peer's plain PyTorch."""
    if why_no_peer(*FILES):
        return {}
    peer, head = TorchPeer({}), peer_code(*FILES)[0]
    torch, device = peer.torch, peer.device
    kind = torch.bfloat16 if pyramid[0].dtype == jnp.bfloat16 else torch.float32
    use_kernel_of_torchvision(head)
    levels = [
        torch.tensor(np.asarray(level, np.float32), device=device, dtype=kind).permute(0, 3, 1, 2).contiguous()
        for level in pyramid
    ]
    rois, owner = (torch.tensor(np.asarray(x), device=device) for x in (boxes, picture))

    def pool(levels):
        if len(levels) == 1:
            return head.roi_align(levels[0], rois.to(kind), owner, 1 / strides[0], cells)
        return head.roi_align_fpn(levels, rois.to(kind), owner, strides, cells)

    def forward(calls: int = 1) -> None:
        with torch.inference_mode():
            for _ in range(calls):
                pool(levels)
        peer.wait()

    def backward(calls: int = 1) -> None:
        for _ in range(calls):
            leaves = [level.detach().requires_grad_() for level in levels]
            pooled = pool(leaves)
            pooled.backward(pooled.detach())
        peer.wait()

    return {"peer forward": forward, "peer forward + backward": backward}


def floor_bytes(pyramid: list, boxes: jax.Array, cells: int) -> int:
    """Of the pooled features (written once) and as many of the map (read once); with the backward pass twice that."""
    channels, size = pyramid[0].shape[-1], pyramid[0].dtype.itemsize
    pooled = boxes.shape[0] * cells * cells * channels * size
    maps = sum(level.size * size for level in pyramid)
    return pooled + min(maps, 16 * pooled)


def as_rows(case: str, times: dict[str, Times], floor: dict[str, float]) -> list[list[str]]:
    """Rows of the table: seconds against the floor and against the peer the same way."""
    rows = []
    for name, t in times.items():
        way = name.split(" ", 1)[1]
        peer = times.get(f"peer {way}")
        rows.append(
            [
                case,
                name,
                f"{floor[way] * 1e3:.2f}",
                f"{t.median * 1e3:.2f} +- {t.spread * 1e3:.2f}",
                f"{t.median / floor[way]:.1f}",
                f"{ratio(t, peer):.2f}" if peer else "-",
            ]
        )
    return rows
