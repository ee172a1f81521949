"""Inference and the training step of every family at full size in bfloat16, beside the peer in several ways."""

import time
from collections.abc import Callable, Sequence
from importlib import import_module

import jax
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.bench.gpu.measure import Run, Work, call, time_by_turns, write_times
from querypose_jax.bench.gpu.peers import Peers
from querypose_jax.bench.gpu.sheet import Sheet
from querypose_jax.bench.inference import peer_poses, predict_of
from querypose_jax.bench.options import PeerWay
from querypose_jax.bench.peers import about_peer
from querypose_jax.bench.train import peer_step
from querypose_jax.bench.workload import drawn_batch
from querypose_jax.devices import sharding
from querypose_jax.models.registry import build_model, family_of
from querypose_jax.planning.flops import flops_by_part
from querypose_jax.skeletons import get_skeleton
from querypose_jax.training.build import new_state, new_step

PEOPLE = 4  # on each picture
PEERS = {
    "peer, eager, TF32": PeerWay(False, "float32"),
    "peer, eager, bfloat16": PeerWay(False, "bfloat16"),
    "peer, torch.compile, bfloat16": PeerWay(True, "bfloat16"),
}
EAGER, COMPILED = tuple(PEERS)[:2], tuple(PEERS)[2:]
COMPILING_S = 240.0  # that torch.compile may take longer than ours
SMALL = "synthetic_tiny"


def config_of(sheet: Sheet, module: str, dtype: str = "bfloat16") -> ConfigDict:
    """The configuration of a module, or for a trial the family's small one."""
    if sheet.sizes.is_tiny:
        module = ".".join([*module.split(".")[:-1], SMALL])
    config = config_in(module)
    config.model.dtype = "float32" if sheet.sizes.is_tiny else dtype
    return config


def config_in(module: str) -> ConfigDict:
    """The configuration of a module of the library."""
    return import_module(module).get_config()


def inference(
    sheet: Sheet,
    module: str,
    canvas: tuple[int, int] | None = None,
    pictures: int | None = None,
    ways: Sequence[str] = EAGER,
) -> None:
    """All that a family predicts, and beside eager peers its own ways to predict less; `ways` of PEERS beside it."""
    config = config_of(sheet, module)
    canvas, pictures = sized(sheet, canvas, pictures)
    batch = drawn_batch(canvas, pictures, 1, get_skeleton(config.data.skeleton).num_keypoints)
    missing, _ = about_peer(config)
    with Peers(makers(ways, peer_poses, config, None, batch), missing) as peers:
        graphdef, state = nnx.split(build_model(config, rngs=nnx.Rngs(0)))
        on_device = jax.device_put(batch)
        less = {} if ways == COMPILED else family_of(config).ways_to_predict
        ours = {"all": lambda model, batch: model.predict(batch), **less}
        jitted = {name: jax.jit(predict_of(graphdef, way)) for name, way in ours.items()}
        programs = {name: (function, (state, on_device)) for name, function in jitted.items()}
        compile_and_time(sheet, f"{pictures} x {canvas[0]} x {canvas[1]}", programs, peers)


def training_step(
    sheet: Sheet,
    module: str,
    canvas: tuple[int, int] | None = None,
    pictures: int | None = None,
    ways: Sequence[str] = EAGER[1:],
    solver: str = "callback",
) -> None:
    """Forward, matching by `solver`, backward, clipping and the optimizer; `ways` of PEERS beside it."""
    config = config_of(sheet, module)
    if "matching" in config:
        config.matching.solver = solver
    canvas, pictures = sized(sheet, canvas, pictures)
    keypoints = get_skeleton(config.data.skeleton).num_keypoints
    people = min(PEOPLE, config.data.max_people)
    batch = drawn_batch(canvas, pictures, people, keypoints, tuple(config.data.people_ladder))
    missing, _ = about_peer(config)
    with Peers(makers(ways, peer_step, config, batch), missing) as peers:
        mesh = sharding.make_mesh(ConfigDict({"data": 1, "fsdp": 1}), jax.devices()[:1])
        graphdef, state = new_state(config)
        with jax.set_mesh(mesh):
            step = new_step(config, graphdef, mesh)
            arguments = (jax.device_put(state, sharding.replicated(mesh)), sharding.put_batch(batch, mesh))
            del state
            case = f"{pictures} x {canvas[0]} x {canvas[1]}, {people} people each"
            compile_and_time(sheet, case, {"training step": (step, arguments)}, peers, steps)


def sized(sheet: Sheet, canvas: tuple[int, int] | None, pictures: int | None) -> tuple[tuple[int, int], int]:
    """What the row asks for, or what the sheet says; in a trial always the latter."""
    if sheet.sizes.is_tiny:
        return sheet.sizes.canvas, sheet.sizes.pictures
    return canvas or sheet.sizes.canvas, pictures or sheet.sizes.pictures


def makers(ways: Sequence[str], make: Callable, *arguments: object) -> dict[str, tuple]:
    """The peer in these ways."""
    return {name: (repeated, make, *arguments, PEERS[name]) for name in ways}


def repeated(make: Callable[..., Callable[[], object]], *arguments: object) -> Callable[[int], None]:
    """`run(calls)` of a peer whose run is a single call."""
    run = make(*arguments)

    def many(calls: int) -> None:
        for _ in range(calls):
            run()

    return many


def steps(program: Callable, arguments: tuple) -> Run:
    """`run(calls)` of a training step: the old state's memory is given to the new one."""
    held = list(arguments)

    def run(calls: int) -> None:
        for _ in range(calls):
            held[0], metrics = program(*held)
        jax.block_until_ready(metrics)

    return run


def calls(program: Callable, arguments: tuple) -> Run:
    """`run(calls)` of anything else."""
    return lambda number: call(program, arguments, number)


def compile_and_time(sheet: Sheet, case: str, programs: dict, peers: Peers, run_of: Callable = calls) -> None:
    """Compiles; then, alone, times beside the peers.

    Args:
        programs: name -> (jitted, arguments).
        run_of: (compiled, arguments) -> run(calls).
    """
    flops = {name: sum(flops_by_part(jitted, *arguments).values()) for name, (jitted, arguments) in programs.items()}
    runs, compile_s, work = {}, {}, {}
    for name, (jitted, arguments) in programs.items():
        with sheet.guarded(f"{case}, {name}"):
            lowered, began = jitted.lower(*arguments), time.monotonic()
            compiled = lowered.compile()
            compile_s[name] = round(time.monotonic() - began, 1)
            sheet.write(case=case, what=name, compile_s=compile_s[name], temporaries_gib=temporaries_gib(compiled))
            runs[name] = run_of(compiled, arguments)
            work[name] = Work(flops[name], bytes_of(compiled))
    if not runs:
        return
    found = peers.ready(sheet, case, COMPILED, COMPILING_S)  # before its turn: other rows can measure meanwhile
    with sheet.alone():
        found |= peers.ready(sheet, case, EAGER)
        write_times(sheet, case, time_by_turns(sheet, runs | found), compile_s, work, peak_gib=peak_gib())


def temporaries_gib(compiled: jax.stages.Compiled) -> float:
    """As the compiler planned them."""
    return round(compiled.memory_analysis().temp_size_in_bytes / 2**30, 2)


def peak_gib() -> float | None:
    """The most that ours has held on the device so far; None where it does not tell."""
    stats = jax.devices()[0].memory_stats() or {}
    return round(stats["peak_bytes_in_use"] / 2**30, 2) if "peak_bytes_in_use" in stats else None


def bytes_of(compiled: jax.stages.Compiled) -> float:
    """What the compiler thinks goes through memory; 0 where it does not tell. It does not look into kernels."""
    return (compiled.cost_analysis() or {}).get("bytes accessed", 0)
