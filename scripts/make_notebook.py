"""docs/notebook.ipynb from docs/notebook.py: the same cells, for who opens notebooks in a browser (Colab, say).

    python scripts/make_notebook.py

The script is what is edited and what the tests run; a test compares the two.
"""

import json
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)
INSTALL = """# In Colab: clone the repository beside this notebook first, or upload it as a zip and unpack it.
import sys
from pathlib import Path

if not any((Path(place) / "launch.py").is_file() for place in sys.path) and Path("querypose_jax/launch.py").is_file():
    %pip install --quiet "./querypose_jax[train,video]"
"""


def cells(script: str) -> list[dict]:
    """The cells of a script in the percent format; what precedes the first one is its head."""
    _, *parts = CELL.split(script)
    made = [cell("code", INSTALL)]
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        if kind.strip() == "[markdown]":
            made.append(cell("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE)))
        else:
            made.append(cell("code", text))
    return made


def cell(kind: str, text: str) -> dict:
    """One cell as nbformat 4.4 has it."""
    more: dict = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": text.strip("\n").splitlines(keepends=True), **more}


def notebook(script: str) -> dict:
    """The whole notebook."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}, "colab": {"provenance": []}}
    return {"cells": cells(script), "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}


def main() -> None:
    made = notebook((DOCS / "notebook.py").read_text())
    (DOCS / "notebook.ipynb").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
