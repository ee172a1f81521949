"""The report as tables in Markdown."""

from pathlib import Path
from typing import Any

from querypose_jax.bench.gpu.sheet import read
from querypose_jax.bench.timing import table


def show(path: Path) -> str:
    """Row by row: times, checks, then whatever went wrong. Of a row that was tried again the last try counts."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in read(path):
        tries = rows.setdefault(line["row"], [])
        if tries and "status" in tries[-1]:
            tries.clear()
        tries.append(line)
    return "\n\n".join(f"## {row}\n\n{show_row(lines)}" for row, lines in rows.items())


def show_row(lines: list[dict[str, Any]]) -> str:
    """Of one row."""
    times = [line for line in lines if "median_ms" in line]
    checks = [line for line in lines if "passes" in line]
    shown = []
    if times:
        head = ["case", "what", "median ms", "floor ms", "of floor", "of peer", "compile s"]
        shown.append(table(head, [timed(line) for line in times]))
    if checks:
        head = ["case", "what", "error", "limit", "passes", "same bits"]
        shown.append(table(head, [checked(line) for line in checks]))
    shown += [said(line) for line in lines if "median_ms" not in line and "passes" not in line]
    return "\n\n".join(shown)


def timed(line: dict[str, Any]) -> list[str]:
    """Cells of a time."""
    floor = f"{line['floor_ms']:.3f} ({line['bound']})" if "floor_ms" in line else ""
    peers = ", ".join(f"{ratio:.2f} of {peer.removeprefix('peer, ')}" for peer, ratio in line["of_peer"].items())
    time = f"{line['median_ms']:.3f} +- {line['spread_ms']:.3f}"
    return [line["case"], line["what"], time, floor, str(line.get("of_floor", "")), peers, str(line["compile_s"] or "")]


def checked(line: dict[str, Any]) -> list[str]:
    """Cells of a check."""
    numbers = [f"{line[name]:.1e}" for name in ("norm_error", "limit")]
    return [line["case"], line["what"], *numbers, str(line["passes"]), str(line["same_bits_again"])]


def said(line: dict[str, Any]) -> str:
    """Anything else, without what only a developer reads."""
    hidden = ("row", "traceback", "log")
    return ", ".join(f"{name}: {value}" for name, value in line.items() if name not in hidden and value is not None)
