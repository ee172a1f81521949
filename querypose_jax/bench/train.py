"""One training step beside the peer's: forward, matching, backward, clipping and AdamW.

    python -m querypose_jax.bench train --config=configs/coco_r50.py [--pictures=2 --people=3 --canvas=800x1088]

The floor is the FLOPs of forward and backward at the measured speed of one large matrix product. The peer steps in a
process of its own.
"""

from collections.abc import Callable

import jax
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.bench.options import Options, PeerWay
from querypose_jax.bench.own_process import OwnProcess
from querypose_jax.bench.peers import about_peer, load_peer
from querypose_jax.bench.report import report
from querypose_jax.bench.timing import take_turns
from querypose_jax.bench.workload import PEAK, drawn_batch, large_product
from querypose_jax.devices import sharding
from querypose_jax.models.registry import build_model
from querypose_jax.planning.flops import flops_by_part
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch
from querypose_jax.training.build import new_state, new_step


def run(config: ConfigDict, options: Options) -> str:
    """Times our step and the peer's by turns; returns the table."""
    skeleton = get_skeleton(config.data.skeleton)
    batch = drawn_batch(
        options.canvas, options.pictures, options.people, skeleton.num_keypoints, tuple(config.data.people_ladder)
    )
    mesh = sharding.make_mesh(ConfigDict({"data": 1, "fsdp": 1}), jax.devices()[:1])
    graphdef, state = new_state(config)
    with jax.set_mesh(mesh):
        step = new_step(config, graphdef, mesh)
        on_device = sharding.put_batch(batch, mesh)
        flops = sum(flops_by_part(step, state, on_device).values())
        held = [jax.device_put(state, sharding.replicated(mesh))]
        del state

        def ours() -> None:
            held[0], metrics = step(held[0], on_device)  # the old state's memory is given to the new one
            jax.block_until_ready(metrics)

        candidates: dict[str, Callable[[], object]] = {"training step": ours}
        notes = []
        missing, peer = about_peer(config)
        if missing:
            notes.append(f"No peer: {missing}.")
        else:
            notes.append(f"The peer is {peer}.")
            for way in options.peer_ways(config.model.dtype):
                candidates[str(way)] = OwnProcess(peer_step, config, batch, way)
        times = take_turns(candidates | {PEAK: large_product(config.model.dtype)}, options.rounds)
    head = f"{options.pictures} x {options.canvas[0]} x {options.canvas[1]}, {options.people} people each"
    table = report(times, {"training step": flops})
    return "\n\n".join([f"{jax.devices()[0].device_kind}, {config.model.dtype}, {head}", table, *notes])


def peer_step(config: ConfigDict, batch: Batch, way: PeerWay) -> Callable[[], float]:
    """The peer's training step, on weights like ours."""
    peer = load_peer(config, nnx.state(build_model(config, rngs=nnx.Rngs(config.train.seed))))
    return peer.training(batch, way)
