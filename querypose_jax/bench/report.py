"""The table that most benchmarks print."""

from querypose_jax.bench.timing import Times, ratio, table
from querypose_jax.bench.workload import PEAK, product_flops


def report(times: dict[str, Times], flops: dict[str, float]) -> str:
    """One row per candidate: size, floor, median and spread, ratios to floor and peer.

    Args:
        times: by name, those of PEAK among them; names of peers start with "peer".
        flops: by name; those of the first candidate stand for the peers.
    """
    peers = [name for name in times if name.startswith("peer")]
    first = flops[next(iter(times))]
    peak = product_flops() / times[PEAK].median
    rows = []
    for name, t in ((name, t) for name, t in times.items() if name != PEAK):
        work = flops.get(name, first)
        floor = work / peak
        rows.append(
            [
                name,
                f"{work / 1e12:.3f}",
                f"{floor * 1e3:.1f}",
                f"{t.median * 1e3:.1f} +- {t.spread * 1e3:.1f}",
                f"{t.median / floor:.2f}",
                *(f"{ratio(t, times[peer]):.2f}" for peer in peers),
            ]
        )
    head = ["what", "TFLOP", "floor ms", "median ms", "of floor", *(f"of {peer}" for peer in peers)]
    return f"{table(head, rows)}\n\nThe floor is at the speed of {PEAK} in the same rounds: {peak / 1e12:.2f} TFLOP/s."
