"""An export in a process that lacks packages, as where it is deployed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def found_without(
    blocked: Sequence[str], folder: Path, pictures: Sequence[np.ndarray], work: Path
) -> list[dict[str, np.ndarray]]:
    """What the loader that lies in an export finds on each picture, whatever its score.

    Args:
        blocked: packages that the process cannot import.
        folder: the export.
        pictures: uint8 [H, W, 3].
        work: an empty folder.
    """
    np.savez(work / "pictures.npz", *pictures)
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); sys.path.insert(0, {str(folder)!r})\n"
        "import numpy as np; from exported import Exported\n"
        f"model, file = Exported({str(folder)!r}), np.load({str(work / 'pictures.npz')!r})\n"
        "found = model.predict([file[name] for name in file.files], threshold=0)\n"
        "named = {f'{i} {name}': value for i, poses in enumerate(found) for name, value in poses.items()}\n"
        f"np.savez({str(work / 'found.npz')!r}, **named)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, np.ndarray]] = [{} for _ in pictures]
    with np.load(work / "found.npz") as file:
        for name in file.files:
            found[int(name.split()[0])][name.split()[1]] = file[name]
    return found
