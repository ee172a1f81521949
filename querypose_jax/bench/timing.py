"""Timing by turns, and tables of what came out.

Machines speed up and slow down while they measure, so candidates take turns in every round and what counts is the
median, and the median of the ratios inside a round.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Times(NamedTuple):
    """Seconds of one candidate, one entry per round."""

    wall: np.ndarray
    cpu: np.ndarray
    """Of all threads of this process."""

    @property
    def median(self) -> float:
        return float(np.median(self.wall))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles."""
        low, high = np.percentile(self.wall, [25, 75])
        return float(high - low) / 2


def take_turns(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Runs every candidate once to warm up, then `rounds` times by turns; a candidate returns when it is done."""
    for run in candidates.values():
        run()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: Times(*np.array(pairs).T) for name, pairs in seconds.items()}


def ratio(a: Times, b: Times) -> float:
    """Median over the rounds of a's time over b's in the same round."""
    return float(np.median(a.wall / b.wall))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
             for row in [head, *rows]]  # fmt: skip
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))
