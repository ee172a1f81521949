"""The table that most benchmarks print."""

from querypose_jax.bench.timing import Times, ratio, table


def report(times: dict[str, Times], flops: dict[str, float], peak: float) -> str:
    """One row per candidate: size, floor, median and spread, ratios to floor and peer.

    Args:
        times: by name; the peer's name starts with "peer".
        flops: by name; those of the first candidate stand for the peer.
        peak: FLOP/s that the floor divides by.
    """
    peer = next((t for name, t in times.items() if name.startswith("peer")), None)
    first = flops[next(iter(times))]
    rows = []
    for name, t in times.items():
        work = flops.get(name, first)
        floor = work / peak
        rows.append(
            [
                name,
                f"{work / 1e12:.3f}",
                f"{floor * 1e3:.1f}",
                f"{t.median * 1e3:.1f} +- {t.spread * 1e3:.1f}",
                f"{t.median / floor:.2f}",
                f"{ratio(t, peer):.2f}" if peer else "-",
            ]
        )
    head = ["what", "TFLOP", "floor ms", "median ms", "of floor", "of peer"]
    return f"{table(head, rows)}\n\nPeak of one large matrix product: {peak / 1e12:.2f} TFLOP/s."
