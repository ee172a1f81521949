"""Prints the differences that the parity tests recorded as a Markdown table.

python -m pytest tests/parity --junitxml=parity.xml && python -m tests.parity.table parity.xml
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict


def rows(path: str) -> list[tuple[str, str, str, float]]:
    """(test file, quantity, dtype, largest recorded difference) over all goldens of a test."""
    largest: dict[tuple[str, str, str], float] = defaultdict(float)
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        dtype = next((name for name in ("float64", "float32") if name in case.get("name")), "float32")
        for item in case.iter("property"):
            quantity = "losses" if item.get("name").startswith("raw/") else item.get("name")
            key = (case.get("classname").rsplit(".", 1)[-1].removeprefix("test_"), quantity, dtype)
            largest[key] = max(largest[key], float(item.get("value")))
    return [(*key, value) for key, value in sorted(largest.items())]


def main() -> None:
    print("| test | quantity | dtype | largest difference |\n|---|---|---|---|")
    for test, quantity, dtype, value in rows(sys.argv[1]):
        print(f"| {test} | {quantity} | {dtype} | {value:.1e} |")


if __name__ == "__main__":
    main()
