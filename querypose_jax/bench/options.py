"""What the benchmarks take from the command line."""

from typing import NamedTuple


class Options(NamedTuple):
    """Sizes of the workload, and how long to measure."""

    rounds: int
    workdir: str | None
    """Run whose weights are used; None = random weights."""
    canvas: tuple[int, int]
    """Height, width of the pictures, network pixels."""
    pictures: int
    people: int
    """On each picture."""
