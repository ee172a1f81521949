"""The report of a GPU, on a CPU: what is written as it comes, what a second run skips, what the table shows."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from querypose_jax.bench.gpu.measure import Work, write_times
from querypose_jax.bench.gpu.rows import ROWS
from querypose_jax.bench.gpu.sheet import CEILINGS, TINY, Sheet, fill, finished, read
from querypose_jax.bench.gpu.show import show
from querypose_jax.bench.timing import Times
from tests.multi_device.together import FAST

ROOT = Path(__file__).parent.parent.parent
SMALL_ROWS = [CEILINGS, "deformable attention is right"]


def times(seconds: float) -> Times:
    return Times(np.array([seconds]), np.array([seconds]))


def test_a_row_that_failed_is_written_down_and_is_tried_again(tmp_path):
    path = tmp_path / "report.jsonl"

    def half(sheet: Sheet) -> None:
        sheet.write(what="the first half", number=1)
        raise ValueError("no second half\nbecause")

    fill(Sheet(path, "whole", TINY), lambda sheet: sheet.write(what="all", number=2))
    fill(Sheet(path, "half", TINY), half)
    assert finished(path) == {"whole"}
    lines = [line for line in read(path) if line["row"] == "half"]
    assert [line.get("number") for line in lines] == [1, None, None]
    assert lines[1]["error"] == "ValueError: no second half"
    assert "raise ValueError" in lines[1]["traceback"]
    assert lines[2]["status"] == "failed"


def test_one_error_inside_a_row_does_not_end_it(tmp_path):
    def row(sheet: Sheet) -> None:
        with sheet.guarded("this"):
            raise RuntimeError("out of memory")
        sheet.write(what="that", number=1)

    fill(Sheet(tmp_path / "report.jsonl", "row", TINY), row)
    assert [line.get("what") for line in read(tmp_path / "report.jsonl")] == ["this", "that", None]
    assert finished(tmp_path / "report.jsonl") == {"row"}


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    path = tmp_path / "report.jsonl"
    path.write_text('{"row": "a", "status": "done"}\n{"row": "b", "sta')
    assert finished(path) == {"a"}


def test_the_floor_is_the_slower_of_products_and_memory_at_the_measured_ceilings(tmp_path):
    """2 TFLOP at 100 TFLOP/s are 20 ms, 10 GB at 1 TB/s are 10 ms."""
    path = tmp_path / "report.jsonl"
    Sheet(path, CEILINGS, TINY).write(bfloat16_flops=1e14, bytes_per_s=1e12)
    sheet = Sheet(path, "row", TINY)
    write_times(sheet, "case", {"ours": times(0.04), "peer, eager": times(0.08)}, {"ours": 1.5}, {"": Work(2e12, 1e10)})
    ours = read(path)[1]
    assert (ours["floor_ms"], ours["bound"], ours["of_floor"]) == (20, "products", 2)
    assert (ours["of_peak"], ours["gb_per_s"], ours["of_peer"]) == (0.5, 250, {"peer, eager": 0.5})
    assert "| case | ours        | 40.000 +- 0.000 | 20.000 (products) | 2.0      | 0.50 of eager | 1.5" in show(path)


def test_of_a_row_that_was_tried_again_the_last_try_is_shown(tmp_path):
    path = tmp_path / "report.jsonl"
    for number in (1, 2):
        fill(Sheet(path, "row", TINY), lambda sheet, number=number: sheet.write(what=f"try {number}"))
    assert "try 2" in show(path)
    assert "try 1" not in show(path)


def run_report(out: Path, *flags: str) -> str:
    """What the script prints."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST}
    command = [sys.executable, "scripts/gpu_report.py", f"--out={out}", "--tiny", *flags]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_row_runs_on_a_cpu_with_tiny_sizes_and_a_second_run_skips_all(tmp_path):
    out = tmp_path / "report.jsonl"
    printed = run_report(out, "--budget=3000")
    assert not [line for line in read(out) if "error" in line]
    assert finished(out) == set(ROWS)
    assert all(f"## {row}" in printed for row in ROWS)
    assert all(line["passes"] for line in read(out) if "passes" in line)
    before = out.read_text()
    run_report(out)
    assert out.read_text() == before


@pytest.mark.slow
def test_what_there_was_no_time_for_is_told(tmp_path):
    out = tmp_path / "report.jsonl"
    run_report(out, "--budget=0", "--rows=" + ";".join(SMALL_ROWS))
    assert [(line["row"], line["status"]) for line in read(out)] == [(row, "left out") for row in SMALL_ROWS]
