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
from querypose_jax.bench.peer import import_peer, peer_of_model
from querypose_jax.bench.report import report
from querypose_jax.bench.timing import take_turns
from querypose_jax.bench.workload import PEAK, drawn_batch, large_product
from querypose_jax.models.registry import build_model
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch
from querypose_jax.training import sharding
from querypose_jax.training.flops import flops_by_part
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import init_state, make_train_step


def run(config: ConfigDict, options: Options) -> str:
    """Times our step and the peer's by turns; returns the table."""
    skeleton = get_skeleton(config.data.skeleton)
    batch = drawn_batch(
        options.canvas, options.pictures, options.people, skeleton.num_keypoints, tuple(config.data.row_ladder)
    )
    model = build_model(config, rngs=nnx.Rngs(0))
    optimizer = make_optimizer(config.optimizer, config.train.num_steps)
    schedule = learning_rate(config.optimizer, config.train.num_steps)
    mesh = sharding.make_mesh(ConfigDict({"data": 1, "fsdp": 1}), jax.devices()[:1])
    graphdef, state = init_state(model, optimizer)
    del model
    with jax.set_mesh(mesh):
        step = make_train_step(graphdef, optimizer, schedule, mesh)
        on_device = sharding.put_batch(batch, mesh)
        flops = sum(flops_by_part(step, state, on_device).values())
        held = [jax.device_put(state, sharding.replicated(mesh))]
        del state

        def ours() -> None:
            held[0], metrics = step(held[0], on_device)  # the old state's memory is given to the new one
            jax.block_until_ready(metrics)

        candidates: dict[str, Callable[[], object]] = {"training step": ours}
        notes = []
        peer = import_peer(config.model.backbone)
        if isinstance(peer, str):
            notes.append(f"No peer: {peer}.")
        else:
            notes.append(f"The peer is torch {peer.torch.__version__}.")
            for way in options.peer_ways(config.model.dtype):
                candidates[str(way)] = OwnProcess(peer_step, config, batch, way)
        times = take_turns(candidates | {PEAK: large_product(config.model.dtype)}, options.rounds)
    head = f"{options.pictures} x {options.canvas[0]} x {options.canvas[1]}, {options.people} people each"
    table = report(times, {"training step": flops})
    return "\n\n".join([f"{jax.devices()[0].device_kind}, {config.model.dtype}, {head}", table, *notes])


def peer_step(config: ConfigDict, batch: Batch, way: PeerWay) -> Callable[[], float]:
    """The peer's training step, on weights like ours."""
    peer = peer_of_model(config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))
    return peer.training(batch, way)
