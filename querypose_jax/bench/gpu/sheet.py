"""What a row of the report is given and where it writes: lines of JSON, each on disk as soon as it is known."""

import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

CEILINGS = "ceilings"  # the row that the floors of the others divide by


class Sizes(NamedTuple):
    """Of everything that is measured."""

    canvas: tuple[int, int]
    """Height, width, pixels."""
    pictures: int
    """Of inference and kernels."""
    boxes: int
    """Of each picture, for RoIAlign."""
    decoder_queries: int
    rounds: int
    is_tiny: bool
    """Small models, on whatever device there is, kernels interpreted: a trial of the report, no measurement."""


FULL = Sizes((800, 1088), 8, 100, 1800, 7, False)
TINY = Sizes((64, 96), 1, 3, 8, 1, True)


class Sheet:
    """One row's part of the report.

    Args:
        path: the report, a file of JSON lines; made where it is not there.
        row: its name.
        sizes: what is measured.
        wait_for_turn: returns when the device is this row's alone, until `end_turn` is called.
    """

    def __init__(
        self,
        path: Path,
        row: str,
        sizes: Sizes,
        wait_for_turn: Callable[[], None] = lambda: None,
        end_turn: Callable[[], None] = lambda: None,
    ):
        self.path, self.row, self.sizes = path, row, sizes
        self._wait, self._end = wait_for_turn, end_turn

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Time in which nothing else is measured; what needs no device, or not alone, is done before."""
        self._wait()
        try:
            yield
        finally:
            self._end()

    def write(self, **numbers: Any) -> None:
        """Adds a line."""
        with self.path.open("a") as file:
            file.write(json.dumps({"row": self.row, **numbers}) + "\n")

    def write_error(self, what: str, error: BaseException) -> None:
        """What could not be measured, and why: the error's first line, and where it came from."""
        lines = str(error).strip().splitlines() or [""]
        trace = "".join(traceback.format_exception(error))
        self.write(what=what, error=f"{type(error).__name__}: {lines[0][:300]}", traceback=trace[-3000:])

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """An error inside is written down, and the row goes on after it."""
        try:
            yield
        except Exception as error:
            self.write_error(what, error)

    def ceiling(self, name: str) -> float | None:
        """A number of the row CEILINGS; None where that row has not come to its end."""
        numbers = [line[name] for line in read(self.path) if line["row"] == CEILINGS and name in line]
        return numbers[-1] if numbers else None


def fill(sheet: Sheet, function: Callable[[Sheet], None]) -> None:
    """Runs a row to its end. The last line tells how it went and how long it took."""
    began = time.monotonic()
    try:
        function(sheet)
    except Exception as error:
        sheet.write_error("all", error)
        status = "failed"
    else:
        status = "done"
    sheet.write(status=status, seconds=round(time.monotonic() - began, 1))


def read(path: Path) -> list[dict[str, Any]]:
    """All lines so far; a last line that was cut short is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines if line]


def finished(path: Path) -> set[str]:
    """Rows that came to their end."""
    return {line["row"] for line in read(path) if line.get("status") == "done"}
