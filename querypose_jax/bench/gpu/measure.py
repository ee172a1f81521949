"""Programs compiled side by side, and timed by turns in batches of calls, which queue up on a GPU."""

import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax

from querypose_jax.bench.gpu.sheet import Sheet
from querypose_jax.bench.timing import Times, ratio, take_turns

Run = Callable[[int], object]
"""Calls a program so many times and returns when the last is done."""
BATCH_S, MOST_CALLS = 0.03, 100  # of one measurement


class Job(NamedTuple):
    """A program to be compiled."""

    function: Callable
    """Of jax arrays; compiled here."""
    arguments: tuple


class Work(NamedTuple):
    """What one call must do."""

    flops: float = 0
    """Of products and convolutions."""
    bytes: float = 0
    """Through memory, the fewest."""


def compile_all(sheet: Sheet, jobs: Mapping[str, Job]) -> tuple[dict[str, Run], dict[str, float]]:
    """Those that compile, to be called, and the seconds that each took beside the others; failures are written down."""

    def compiled(job: Job) -> tuple[Any, float]:
        began = time.monotonic()
        program = jax.jit(job.function).lower(*job.arguments).compile()
        return program, round(time.monotonic() - began, 2)

    runs: dict[str, Run] = {}
    seconds: dict[str, float] = {}
    with ThreadPoolExecutor(min(len(jobs), max(1, len(os.sched_getaffinity(0)) - 1))) as pool:
        futures = {name: pool.submit(compiled, job) for name, job in jobs.items()}
        for name, future in futures.items():
            with sheet.guarded(name):
                program, seconds[name] = future.result()
                runs[name] = partial(call, program, jobs[name].arguments)
    return runs, seconds


def call(program: Callable, arguments: tuple, calls: int = 1) -> None:
    """Calls a program so many times; they queue up, and the last one's end is the end of all."""
    for _ in range(calls):
        out = program(*arguments)
    jax.block_until_ready(out)


def time_by_turns(sheet: Sheet, runs: Mapping[str, Run]) -> dict[str, Times]:
    """Seconds of one call of each; what fails is written down and left out."""
    counts: dict[str, int] = {}
    for name, run in runs.items():
        with sheet.guarded(name):
            run(1)
            began = time.monotonic()
            run(2)
            once = max((time.monotonic() - began) / 2, 1e-6)
            counts[name] = 1 if sheet.sizes.is_tiny else min(MOST_CALLS, math.ceil(BATCH_S / once))
    times = take_turns({name: partial(runs[name], count) for name, count in counts.items()}, sheet.sizes.rounds)
    return {name: Times(t.wall / counts[name], t.cpu / counts[name]) for name, t in times.items()}


def write_times(
    sheet: Sheet,
    case: str,
    times: Mapping[str, Times],
    compile_s: Mapping[str, float],
    work: Mapping[str, Work],
    **more: Any,
) -> None:
    """A line for each: milliseconds, the floor, its share of the ceilings, and how much of each peer's time it takes.

    Args:
        work: by name; that of the first candidate stands for the others that are not in it.
        more: numbers that all lines have.
    """
    if not times:
        return
    first = work[next(iter(work))]
    for name, t in times.items():
        peers = {peer: round(ratio(t, of), 3) for peer, of in times.items() if peer.startswith("peer") and peer != name}
        sheet.write(
            case=case,
            what=name,
            median_ms=round(t.median * 1e3, 4),
            spread_ms=round(t.spread * 1e3, 4),
            **against_ceilings(sheet, work.get(name, first), t.median),
            of_peer=peers,
            compile_s=compile_s.get(name),
            **more,
        )


def against_ceilings(sheet: Sheet, work: Work, seconds: float) -> dict[str, Any]:
    """The floor: the larger of products at the speed of one large product, and bytes at the speed of a large copy."""
    numbers: dict[str, Any] = {}
    floors = {}
    if work.flops and (peak := sheet.ceiling("bfloat16_flops")):
        floors["products"] = work.flops / peak
        numbers |= {"tflop": round(work.flops / 1e12, 4), "of_peak": round(work.flops / seconds / peak, 4)}
    if work.bytes and (speed := sheet.ceiling("bytes_per_s")):
        floors["memory"] = work.bytes / speed
        numbers |= {"mb": round(work.bytes / 1e6, 2), "gb_per_s": round(work.bytes / seconds / 1e9, 1)}
    if floors:
        bound = max(floors, key=lambda name: floors[name])
        numbers |= {
            "floor_ms": round(floors[bound] * 1e3, 4),
            "bound": bound,
            "of_floor": round(seconds / floors[bound], 2),
        }
    return numbers
