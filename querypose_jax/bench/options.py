"""What the benchmarks take from the command line."""

from typing import NamedTuple


class PeerWay(NamedTuple):
    """How the peer runs."""

    compiled: bool
    """By torch.compile; else eager."""
    dtype: str
    """float32 (TF32 products on GPUs) or bfloat16."""

    def __str__(self) -> str:
        return f"peer, {'torch.compile' if self.compiled else 'eager'}, {self.dtype}"


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
    peers: tuple[PeerWay, ...] = ()
    """Of inference and train; none: the peer as it ships, in the model's precision."""

    def peer_ways(self, dtype: str) -> tuple[PeerWay, ...]:
        """The ways to run the peer beside a model that computes in `dtype`."""
        return self.peers or (PeerWay(False, dtype),)
