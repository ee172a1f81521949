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
from querypose_jax.bench.peers import about_peer, load_peer
from querypose_jax.bench.report import report
from querypose_jax.bench.timing import take_turns
from querypose_jax.bench.workload import PEAK, drawn_batch, large_product
from querypose_jax.checkpoints.checkpoint import load_model
from querypose_jax.models.base import PoseModel, Wanted
from querypose_jax.models.registry import build_model, family_of
from querypose_jax.planning.flops import flops_by_part
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch, Poses

Predict = Callable[[PoseModel, Batch], Poses]
EXACT = "exact on these weights"
COCO = Wanted(best=20)


def ways_to_predict(config: ConfigDict) -> dict[str, Predict]:
    """Everything; what is worth a row for this family; what COCO's 20 detections of a picture need."""
    return {
        "all": lambda model, batch: model.predict(batch),
        **family_of(config).ways_to_predict,
        EXACT: lambda model, batch: model.predict(batch, COCO),
    }


def run(config: ConfigDict, options: Options) -> str:
    """Times every row by turns; returns the table."""
    graphdef, state = weights(config, options.workdir)
    batch = drawn_batch(options.canvas, options.pictures, 1, get_skeleton(config.data.skeleton).num_keypoints)
    on_device = jax.device_put(batch)
    candidates, flops, notes = {}, {}, []
    for name, way in ways_to_predict(config).items():
        predict = predict_of(graphdef, way)
        flops[name] = sum(flops_by_part(predict, state, on_device).values())
        candidates[name] = runner(jax.jit(predict).lower(state, on_device).compile(), state, on_device)
    missing, peer = about_peer(config)
    if missing:
        notes.append(f"No peer: {missing}.")
    else:
        notes.append(f"The peer is {peer}.")
        for peer_way in options.peer_ways(config.model.dtype):
            candidates[str(peer_way)] = OwnProcess(peer_poses, config, options.workdir, batch, peer_way)
            notes.append(about_difference(candidates, str(peer_way)))
    times = take_turns(candidates | {PEAK: large_product(config.model.dtype)}, options.rounds)
    ran = int(jax.device_get(candidates[EXACT]()).valid.sum(1).max())
    notes.append(f"{EXACT}: k = {ran} at most (valid results of a picture).")
    size = f"{options.pictures} x {options.canvas[0]} x {options.canvas[1]}"
    head = f"{jax.devices()[0].device_kind}, {config.model.dtype}, {size}"
    return "\n\n".join([head, report(times, flops), *notes])


def weights(config: ConfigDict, workdir: str | None) -> tuple[nnx.GraphDef, nnx.State]:
    """Of the newest checkpoint of a run, or random."""
    if workdir:
        return load_model(Path(workdir), None, config)[1:]
    graphdef, state = nnx.split(build_model(config, rngs=nnx.Rngs(0)))
    return graphdef, without_zero_kernels(state)


def without_zero_kernels(state: nnx.State) -> nnx.State:
    """Random numbers in place of kernels that start at zero: behind those, nothing would depend on the picture."""
    rng = np.random.default_rng(0)

    def drawn(x: jax.Array) -> jax.Array | np.ndarray:
        if x.ndim < 2 or x.any():
            return x
        return rng.standard_normal(x.shape, np.float32) / np.sqrt(np.prod(x.shape[:-1]), dtype=np.float32)

    return jax.tree.map(drawn, state)


def predict_of(graphdef: nnx.GraphDef, way: Predict) -> Callable:
    """`predict(state, batch) -> Poses` of a model taken apart, to be traced."""
    return lambda state, batch: way(nnx.merge(graphdef, state), batch)


def runner(compiled: Callable, state: nnx.State, batch: Batch) -> Callable:
    """A candidate that returns when the poses are there."""
    return lambda: jax.block_until_ready(compiled(state, batch))


def peer_poses(config: ConfigDict, workdir: str | None, batch: Batch, way: PeerWay) -> Callable[[], np.ndarray]:
    """The peer with the same weights: `run() -> keypoints [B, N, K, 2]` of all queries."""
    return load_peer(config, weights(config, workdir)[1]).inference(batch, way)


def about_difference(candidates: dict[str, Callable], peer: str) -> str:
    """How far the coordinates of all valid results are from the peer's, pixels; of all results where none is valid.

    Random weights amplify rounding: they send joints far outside of the picture.
    """
    ours = jax.device_get(candidates["all"]())
    kept, which = (ours.valid, "valid") if ours.valid.any() else (np.ones_like(ours.valid), "none of them valid")
    found = np.abs(ours.keypoints - candidates[peer]())[kept]
    return (
        f"Keypoints differ from {peer}, by {np.median(found):.1e} pixels (median), {found.max():.1e} at most "
        f"({kept.sum()} results, {which})."
    )
