"""Deformable attention, all paths, forward and backward, beside the peer's grid_sample.

    python -m querypose_jax.bench deformable_attention --config=configs/grouppose/coco_r50.py --rounds=5

The sampling and weighted sum alone, of one layer: as many heads, levels and points as Group Pose and ED-Pose have, the
levels of the canvas, samples on rings around the queries as at the start of training and a little off them. The floor
is to read values, locations and weights once and to write the sums once, at the measured speed of a copy; with the
backward pass to read them again, and to write their gradients. The peer runs in a process of its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from kernels.deformable_attention import deformable_attention
from querypose_jax.bench.options import Options, PeerWay
from querypose_jax.bench.own_process import OwnProcess
from querypose_jax.bench.peers.torch_peer import TorchPeer, peer_code, why_no_peer
from querypose_jax.bench.timing import Times, ratio, table, take_turns
from querypose_jax.bench.workload import copy_speed

HEADS, DIM, POINTS = 8, 32, 4
STRIDES = (8, 16, 32, 64)  # pixels
CASES = {"encoder": None, "decoder": 1800}  # queries; None: one for each token
PEER_FILE = "deformable_torch"


class Size(NamedTuple):
    """Of one call."""

    canvas: tuple[int, int]
    """Height, width, pixels."""
    pictures: int
    queries: int | None
    """Of each picture; None: the tokens."""

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height, width of each level."""
        height, width = self.canvas
        return tuple((-(-height // stride), -(-width // stride)) for stride in STRIDES)

    @property
    def tokens(self) -> int:
        return sum(height * width for height, width in self.shapes)


class Operands(NamedTuple):
    """Of a call with its backward pass, in float32."""

    values: Float[np.ndarray, "B tokens heads dim"]
    locations: Float[np.ndarray, "B Q heads levels points 2"]
    weights: Float[np.ndarray, "B Q heads levels points"]
    cotangent: Float[np.ndarray, "B Q heads*dim"]


def run(config: ConfigDict, options: Options) -> str:
    """Times each path on each case, forward and forward + backward; returns the table."""
    paths = ["gather"] + (["triton"] if jax.default_backend() == "gpu" else [])
    missing = why_no_peer(PEER_FILE)
    rows = []
    for case, queries in CASES.items():
        size = Size(options.canvas, options.pictures, queries)
        floor = floor_seconds(size, config.model.dtype, copy_speed())
        for way in ("forward", "forward + backward"):
            candidates: dict[str, Callable[[], object]] = {}
            for path in paths:
                candidates[path] = ours(draw(size), size.shapes, path, config.model.dtype, way != "forward")
            if not missing:
                for peer in options.peer_ways(config.model.dtype):
                    candidates[str(peer)] = OwnProcess(theirs, size, peer, way != "forward")
            rows += as_rows(f"{case}, {way}", take_turns(candidates, options.rounds), floor[way])
    head = ["case", "what", "floor ms", "median ms", "of floor", "of peer"]
    count = f"{options.pictures} x {options.canvas[0]} x {options.canvas[1]}, {size.tokens} tokens"
    title = f"{jax.devices()[0].device_kind}, {config.model.dtype}, {count}, {CASES['decoder']} queries of the decoder"
    return "\n\n".join([title, table(head, rows), *([f"No peer: {missing}."] if missing else [])])


def draw(size: Size) -> Operands:
    """Random values; each head's points lie 1, 2, ... cells off a query along a direction of its own, and one cell of
    noise off that. Queries are the centres of all cells, or spread over the picture."""
    rng = np.random.default_rng(0)
    levels = np.array([(width, height) for height, width in size.shapes], np.float32)
    if size.queries is None:
        grids = [np.mgrid[:height, :width].reshape(2, -1)[::-1].T for height, width in size.shapes]
        centres = np.concatenate([(grid + 0.5) / of for grid, of in zip(grids, levels, strict=True)])
        centres = np.broadcast_to(centres, (size.pictures, *centres.shape))
    else:
        centres = rng.uniform(0, 1, (size.pictures, size.queries, 2))
    angle = 2 * np.pi * np.arange(HEADS) / HEADS
    rings = np.stack([np.cos(angle), np.sin(angle)], -1)[:, None, None] * np.arange(1, POINTS + 1)[:, None]
    shape = (*centres.shape[:2], HEADS, len(levels), POINTS, 2)
    offsets = rings + rng.standard_normal(shape, np.float32)
    weights = rng.random(shape[:-1], np.float32)
    weights /= weights.sum((-2, -1), keepdims=True)
    locations = centres[:, :, None, None, None] + offsets / levels[:, None]
    values = rng.standard_normal((size.pictures, size.tokens, HEADS, DIM), np.float32)
    cotangent = rng.standard_normal((*shape[:2], HEADS * DIM), np.float32)
    return Operands(values, locations.astype(np.float32), weights, cotangent)


def passes(attend: Callable[..., Array], backward: bool) -> Callable[..., tuple[Array, ...]]:
    """Of `attend(values, locations, weights)`: the sums; with `backward` also the three gradients."""

    def forward(values, locations, weights, cotangent):
        return (attend(values, locations, weights),)

    def both(values, locations, weights, cotangent):
        out, pull = jax.vjp(attend, values, locations, weights)
        return out, *pull(cotangent)

    return both if backward else forward


def on_device(operands: Operands, dtype: str) -> list[Array]:
    """Values and cotangent in the model's type."""
    values, locations, weights, cotangent = (jnp.asarray(x) for x in operands)
    return [values.astype(dtype), locations, weights, cotangent.astype(dtype)]


def ours(operands: Operands, shapes, path: str, dtype: str, backward: bool) -> Callable[[], object]:
    """One path, to be called."""
    arrays = on_device(operands, dtype)
    call = jax.jit(passes(lambda v, x, w: deformable_attention(v, shapes, x, w, path), backward))
    return lambda: jax.block_until_ready(call(*arrays))


def theirs(size: Size, way: PeerWay, backward: bool) -> Callable[..., None]:
    """`run(calls=1)` of the peer; with bfloat16 values under autocast, where grid_sample samples in float32."""
    (code,), peer = peer_code(PEER_FILE), TorchPeer({})
    torch = peer.torch
    kind = torch.bfloat16 if way.dtype == "bfloat16" else torch.float32
    arrays = [peer.tensor(x) for x in draw(size)]
    values, cotangent = arrays[0].to(kind), arrays[3].to(kind)
    leaves = [values, arrays[1], arrays[2]]
    shapes = [tuple(shape) for shape in size.shapes]

    def attend(values, locations, weights):
        return code.deform_sample(values, shapes, locations, weights)

    attend = torch.compile(attend) if way.compiled else attend
    narrow = torch.autocast(peer.device, torch.bfloat16, enabled=way.dtype == "bfloat16")

    def forward() -> None:
        with torch.inference_mode(), narrow:
            attend(*leaves)

    def both() -> None:
        inputs = [leaf.detach().requires_grad_() for leaf in leaves]
        with narrow:
            out = attend(*inputs)
        torch.autograd.grad(out, inputs, cotangent.to(out.dtype))

    def run(calls: int = 1) -> None:
        for _ in range(calls):
            both() if backward else forward()
        peer.wait()

    return run


def moved_bytes(size: Size, dtype: str) -> dict[str, int]:
    """The fewest bytes that go through memory; gradients of values are added up in float32."""
    item = jnp.dtype(dtype).itemsize
    queries = size.queries or size.tokens
    values, out = (size.pictures * count * HEADS * DIM * item for count in (size.tokens, queries))
    samples = size.pictures * queries * HEADS * len(size.shapes) * POINTS * 3 * 4  # x, y and weight
    forward = values + out + samples
    return {"forward": forward, "forward + backward": 2 * (values + out + samples) + samples + values * 4 // item}


def floor_seconds(size: Size, dtype: str, speed: float) -> dict[str, float]:
    """Of moving these bytes at `speed` bytes a second."""
    return {way: count / speed for way, count in moved_bytes(size, dtype).items()}


def as_rows(case: str, times: dict[str, Times], floor: float) -> list[list[str]]:
    """Rows of the table: against the floor and against the first peer."""
    peer = next((t for name, t in times.items() if name.startswith("peer")), None)
    return [
        [
            case,
            name,
            f"{floor * 1e3:.2f}",
            f"{t.median * 1e3:.2f} +- {t.spread * 1e3:.2f}",
            f"{t.median / floor:.1f}",
            f"{ratio(t, peer):.2f}" if peer else "-",
        ]
        for name, t in times.items()
    ]
