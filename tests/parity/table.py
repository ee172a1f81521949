"""Prints the differences that the parity tests recorded as a Markdown table.

python -m pytest tests/parity --junitxml=parity.xml && python -m tests.parity.table parity.xml [MORE.xml ...]
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from itertools import chain

SUMMED_UP = {"modules": "all blocks", "backbone": "all maps, relative to their largest value"}


def rows(paths: list[str]) -> list[tuple[str, str, str, float]]:
    """(test file, quantity, dtype, largest recorded difference) over all goldens of a test."""
    largest: dict[tuple[str, str, str], float] = defaultdict(float)
    for case in chain.from_iterable(ElementTree.parse(path).getroot().iter("testcase") for path in paths):
        dtype = next((name for name in ("float64", "float32") if name in case.get("name")), "float32")
        for item in case.iter("property"):
            test = case.get("classname").rsplit(".", 1)[-1].removeprefix("test_")
            name = "losses" if item.get("name").startswith("raw/") else item.get("name")
            key = (test, SUMMED_UP.get(test, name), dtype)
            largest[key] = max(largest[key], float(item.get("value")))
    return [(*key, value) for key, value in sorted(largest.items())]


def main() -> None:
    print("| test | quantity | dtype | largest difference |\n|---|---|---|---|")
    for test, quantity, dtype, value in rows(sys.argv[1:]):
        print(f"| {test} | {quantity} | {dtype} | {value:.1e} |")


if __name__ == "__main__":
    main()
