"""Time of RoIAlign and of deformable attention: every path, the CUDA kernels in several shapes, beside the peer's."""

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from kernels.deformable_attention.gather import deformable_attention_gather
from kernels.deformable_attention.triton import Tile, deformable_attention_triton
from kernels.roi_align.dense import roi_align_dense
from kernels.roi_align.gather import roi_align_gather
from kernels.roi_align.triton import roi_align_triton
from querypose_jax.bench import deformable_attention, roi_align
from querypose_jax.bench.gpu.correct import interprets
from querypose_jax.bench.gpu.measure import Job, Work, compile_all, time_by_turns, write_times
from querypose_jax.bench.gpu.peers import Peers
from querypose_jax.bench.gpu.sheet import Sheet, Sizes
from querypose_jax.bench.options import Options, PeerWay
from querypose_jax.bench.peers import querypose as querypose_peer
from querypose_jax.bench.peers.torch_peer import why_no_peer

WAYS = ("forward", "forward + backward")
CHUNKS = (512, 2048, 8192, 32768)  # queries of the gather path
TILES = [Tile(*tile) for tile in ((2, 1), (4, 1), (8, 1), (4, 2), (8, 2), (8, 4), (16, 4), (32, 4), (32, 8))]
BACKWARD_TILES = [Tile(*tile) for tile in ((2, 1), (4, 1), (4, 2), (8, 4), (16, 4), (32, 8))]
FEW_TILES = [Tile(4, 1), Tile(8, 4)]
WARPS = (2, 4, 8)  # of RoIAlign's kernel


class Case(NamedTuple):
    """Candidates that do the same."""

    name: str
    jobs: dict[str, Job]
    peers: Peers
    work: Work


def roi_align_times(sheet: Sheet, dtype: str = "bfloat16") -> None:
    """100 boxes a picture: 7x7 from four levels, 14x14 from the finest."""
    cases = []
    for (name, (cells, strides)), way in itertools.product(roi_align.CASES.items(), WAYS):
        peers = Peers({"peer, torchvision": (their_roi_align, sheet.sizes, dtype, name, way)}, no_roi_peer())
        pyramid, boxes, picture = roi_arguments(sheet.sizes, dtype, strides)
        jobs = {
            path: Job(roi_pass(pool, boxes, picture, strides, cells, way), (pyramid,))
            for path, pool in roi_paths(sheet.sizes).items()
        }
        once = roi_align.floor_bytes(pyramid, boxes, cells)
        work = Work(bytes=once if way == WAYS[0] else 2 * once)
        cases.append(Case(f"{name}, {dtype}, {way}", jobs, peers, work))
    time_cases(sheet, cases)


def roi_paths(sizes: Sizes) -> dict[str, Callable]:
    """Name -> path."""
    kernels = {
        f"triton, {warps} warps": partial(roi_align_triton, interpret=interprets(), warps=warps)
        for warps in (WARPS[:1] if sizes.is_tiny else WARPS)
    }
    return {"gather": roi_align_gather, "dense": roi_align_dense, **kernels}


def roi_pass(path, boxes, picture, strides, cells, way) -> Callable:
    """`f(pyramid)` of one path: the pooled features, or those and the gradient of the pyramid."""

    def forward(pyramid):
        return path(pyramid, boxes, picture, strides, cells)

    def both(pyramid):
        out, pull = jax.vjp(forward, pyramid)
        return out, pull(out)

    return forward if way == "forward" else both


def roi_arguments(sizes: Sizes, dtype: str, strides) -> tuple[list[Array], Array, Array]:
    """Pyramid, boxes and the pictures of the boxes."""
    options = Options(sizes.rounds, None, sizes.canvas, sizes.pictures, 0)
    return roi_align.workload(ConfigDict({"model": {"dtype": dtype}}), options, strides, sizes.boxes)


def their_roi_align(sizes: Sizes, dtype: str, case: str, way: str) -> Callable:
    """`run(calls)` of the peer, for a process of its own."""
    cells, strides = roi_align.CASES[case]
    return roi_align.theirs(*roi_arguments(sizes, dtype, strides), strides, cells)[f"peer {way}"]


def no_roi_peer() -> str | None:
    """Why there is none."""
    return why_no_peer(*querypose_peer.FILES)


def attention_times(sheet: Sheet, case: str, dtype: str = "bfloat16", in_many_shapes: bool = True) -> None:
    """One layer of a batch; the kernel's programs in two shapes, or in many."""
    size = attention_size(sheet.sizes, case)
    arrays = tuple(deformable_attention.on_device(deformable_attention.draw(size), dtype))
    cases = []
    for way in WAYS:
        backward = way != WAYS[0]
        ways = {"eager": PeerWay(False, dtype), "torch.compile": PeerWay(True, dtype)}
        makers = {f"peer, {name}": (deformable_attention.theirs, size, w, backward) for name, w in ways.items()}
        peers = Peers(makers, why_no_peer(deformable_attention.PEER_FILE))
        paths = attention_paths(size, in_many_shapes and not sheet.sizes.is_tiny, backward)
        jobs = {name: Job(deformable_attention.passes(path, backward), arrays) for name, path in paths.items()}
        work = Work(bytes=deformable_attention.moved_bytes(size, dtype)[way])
        cases.append(Case(f"{case}, {dtype}, {way}", jobs, peers, work))
    time_cases(sheet, cases)


def attention_size(sizes: Sizes, case: str) -> deformable_attention.Size:
    """A layer of the encoder, or one of the decoder."""
    queries = None if case == "encoder" else sizes.decoder_queries
    return deformable_attention.Size(sizes.canvas, sizes.pictures, queries)


def attention_paths(size: deformable_attention.Size, in_many_shapes: bool, backward: bool) -> dict[str, Callable]:
    """Name -> `attend(values, locations, weights)`."""
    queries = size.queries or size.tokens
    chunks = [chunk for chunk in CHUNKS if chunk < queries] if in_many_shapes else CHUNKS[1:2]
    paths: dict[str, Callable] = {
        f"gather, {chunk} queries at a time": partial(deformable_attention_gather, shapes=size.shapes, at_a_time=chunk)
        for chunk in chunks
    }
    kernel = partial(deformable_attention_triton, shapes=size.shapes, interpret=interprets())
    tiles = (BACKWARD_TILES if backward else TILES) if in_many_shapes else FEW_TILES
    for tile in tiles:
        shaped = partial(kernel, backward=tile) if backward else partial(kernel, forward=tile)
        paths[f"triton, {tile.queries} queries, {tile.warps} warps"] = shaped
    return paths


def deterministic_times(sheet: Sheet) -> None:
    """Backward passes under `kernels.determinism`, one by one: their time, and whether three calls give equal bits."""
    jobs = {}
    for case, (cells, strides) in roi_align.CASES.items():
        pyramid, boxes, picture = roi_arguments(sheet.sizes, "bfloat16", strides)
        for name, path in roi_paths(sheet.sizes).items():
            function = roi_pass(path, boxes, picture, strides, cells, WAYS[1])
            jobs[f"RoIAlign {case}, {name}"] = Job(function, (pyramid,))
    for case in ("decoder", "encoder"):
        size = attention_size(sheet.sizes, case)
        arrays = tuple(deformable_attention.on_device(deformable_attention.draw(size), "bfloat16"))
        for name, path in attention_paths(size, False, True).items():
            jobs[f"{case}, {name}"] = Job(deformable_attention.passes(path, True), arrays)
    for name, job in jobs.items():
        with sheet.guarded(name), sheet.alone():
            runs, compile_s = compile_all(sheet, {name: job})
            times = time_by_turns(sheet, runs)
            write_times(sheet, "forward + backward, deterministic", times, compile_s, {"": Work()})
            if runs:
                sheet.write(case="the same bits", what=name, same_bits=gives_same_bits(job))


def gives_same_bits(job: Job) -> bool:
    """Whether three calls give equal numbers."""
    call = jax.jit(job.function)
    first, *others = [jax.tree.map(np.asarray, call(*job.arguments)) for _ in range(3)]
    same = jax.tree.map(lambda *all_: all(np.array_equal(all_[0], x) for x in all_[1:]), first, *others)
    return all(jax.tree.leaves(same))


def time_cases(sheet: Sheet, cases: list[Case]) -> None:
    """Compiles all, then times ours and the peers by turns, case by case; a line for each."""
    with ExitStack() as stack:
        for case in cases:
            stack.enter_context(case.peers)
        compiled = [compile_all(sheet, case.jobs) for case in cases]
        with sheet.alone():
            for case, (runs, compile_s) in zip(cases, compiled, strict=True):
                with sheet.guarded(case.name):
                    times = time_by_turns(sheet, runs | case.peers.ready(sheet, case.name))
                    write_times(sheet, case.name, times, compile_s, {"": case.work})
