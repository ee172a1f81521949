"""Inference on one batch: all queries, a fixed number, and exactly as many as these weights need; beside the peer.

    python -m querypose_jax.bench inference --config=configs/coco_r50.py [--workdir=RUN] [--config.model.dtype=bfloat16]

The floor is the FLOPs of the row's products and convolutions at the measured speed of one large matrix product. With
random weights no query is sure, so `exact` widens almost always: its gain shows on trained weights (--workdir). The
peer runs in a process of its own.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.bench.options import Options, PeerWay
from querypose_jax.bench.own_process import OwnProcess
from querypose_jax.bench.peer import import_peer, peer_of_model
from querypose_jax.bench.report import report
from querypose_jax.bench.timing import take_turns
from querypose_jax.bench.workload import PEAK, drawn_batch, large_product
from querypose_jax.models.querypose.pruning import COCO, Pruning
from querypose_jax.models.registry import build_model
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch
from querypose_jax.training.checkpoint import load_model
from querypose_jax.training.flops import flops_by_part

FIXED = Pruning(chunk=30, most_chunks=1)
ROWS: dict[str, Pruning | None] = {"all": None, "fixed k=30": FIXED, "exact on these weights": COCO}


def run(config: ConfigDict, options: Options) -> str:
    """Times every row by turns; returns the table."""
    graphdef, state = weights(config, options.workdir)
    batch = drawn_batch(options.canvas, options.pictures, 1, get_skeleton(config.data.skeleton).num_keypoints)
    on_device = jax.device_put(batch)
    candidates, flops, notes = {}, {}, []
    for name, pruning in ROWS.items():
        predict = predict_of(graphdef, pruning)
        flops[name] = sum(flops_by_part(predict, state, on_device).values())
        candidates[name] = runner(jax.jit(predict).lower(state, on_device).compile(), state, on_device)
    peer = import_peer(config.model.backbone)
    if isinstance(peer, str):
        notes.append(f"No peer: {peer}.")
    else:
        kernel = "torchvision" if peer.use_kernel_of_torchvision() else "plain PyTorch"
        notes.append(f"The peer is torch {peer.torch.__version__} with RoIAlign of {kernel}.")
        for way in options.peer_ways(config.model.dtype):
            candidates[str(way)] = OwnProcess(peer_poses, config, options.workdir, batch, way)
            middle, largest = difference(candidates, str(way))
            notes.append(f"Keypoints differ from {way}, by {middle:.1e} pixels (median), {largest:.1e} at most.")
    times = take_turns(candidates | {PEAK: large_product(config.model.dtype)}, options.rounds)
    ran = int(jax.device_get(candidates["exact on these weights"]()).valid.sum(1).max())
    notes.append(f"exact on these weights: k = {ran} at most (valid results of a picture).")
    size = f"{options.pictures} x {options.canvas[0]} x {options.canvas[1]}"
    head = f"{jax.devices()[0].device_kind}, {config.model.dtype}, {size}"
    return "\n\n".join([head, report(times, flops), *notes])


def weights(config: ConfigDict, workdir: str | None) -> tuple[nnx.GraphDef, nnx.State]:
    """Of the newest checkpoint of a run, or random."""
    if workdir:
        return load_model(Path(workdir), None, config)[1:]
    return nnx.split(build_model(config, rngs=nnx.Rngs(0)))


def predict_of(graphdef: nnx.GraphDef, pruning: Pruning | None) -> Callable:
    """`predict(state, batch) -> Poses` of a model taken apart, to be traced."""
    return lambda state, batch: nnx.merge(graphdef, state).predict(batch, pruning)


def runner(compiled: Callable, state: nnx.State, batch: Batch) -> Callable:
    """A candidate that returns when the poses are there."""
    return lambda: jax.block_until_ready(compiled(state, batch))


def peer_poses(config: ConfigDict, workdir: str | None, batch: Batch, way: PeerWay) -> Callable[[], np.ndarray]:
    """The peer with the same weights: `run() -> keypoints [B, N, K, 2]` of all queries."""
    infer = peer_of_model(config, weights(config, workdir)[1]).inference(batch, way)
    return lambda: np.stack([np.asarray(poses["keypoints"].float().cpu())[..., :2] for poses in infer()])


def difference(candidates: dict[str, Callable], peer: str) -> tuple[float, float]:
    """Median and largest one between the coordinates of all reported queries and the peer's, pixels.

    Random weights amplify rounding: they send joints far outside of the picture. NaN where nothing is reported.
    """
    ours = jax.device_get(candidates["all"]())
    found = np.abs(ours.keypoints - candidates[peer]())[ours.valid]
    return (float(np.median(found)), float(found.max())) if found.size else (np.nan, np.nan)
