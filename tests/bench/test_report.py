"""The table of a benchmark: each candidate against the floor and against every peer, on times made up by hand."""

import numpy as np

from querypose_jax.bench.options import Options, PeerWay
from querypose_jax.bench.report import report
from querypose_jax.bench.timing import Times
from querypose_jax.bench.workload import PEAK, product_flops


def test_every_peer_has_a_row_and_a_column_of_ratios():
    eager, compiled = str(PeerWay(False, "float32")), str(PeerWay(True, "bfloat16"))
    assert (eager, compiled) == ("peer, eager, float32", "peer, torch.compile, bfloat16")
    seconds = {"ours": 2.0, eager: 8.0, compiled: 4.0, PEAK: 1.0}
    times = {name: Times(np.array([s]), np.array([s])) for name, s in seconds.items()}
    lines = report(times, {"ours": product_flops()}).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert rows[0][4:] == ["of floor", f"of {eager}", f"of {compiled}"]
    assert [row[4:] for row in rows[2:]] == [
        ["2.00", "0.25", "0.50"],
        ["8.00", "1.00", "2.00"],
        ["4.00", "0.50", "1.00"],
    ]


def test_without_a_wish_the_peer_runs_as_it_ships_in_the_precision_of_the_model():
    options = Options(1, None, (64, 96), 1, 1)
    assert options.peer_ways("bfloat16") == (PeerWay(False, "bfloat16"),)
    wished = (PeerWay(True, "float32"),)
    assert options._replace(peers=wished).peer_ways("bfloat16") == wished
