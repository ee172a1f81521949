"""docs/api.md: every name is there, every signature is that of the code, and its examples and README's run."""

import importlib
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from flax import nnx
from PIL import Image

from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.models.registry import build_model
from tests import tiny_run

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs" / "api.md").read_text()
SIGNATURES = re.findall(r"^### `([\w.]+)(\(.*\))`$", API, re.MULTILINE)


def named(path: str) -> Any:
    """The object at a dotted path."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"{path}: no such module")


def signature(thing: Any) -> str:
    """(a, b=1) without types and self."""
    parameters = [p.replace(annotation=p.empty) for p in inspect.signature(thing).parameters.values()]
    parameters = [p for p in parameters if p.name != "self"]
    return str(inspect.Signature(parameters))


def python_blocks(text: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def test_every_heading_of_a_name_has_a_signature():
    assert len(SIGNATURES) == len(re.findall(r"^### ", API, re.MULTILINE)) > 20


@pytest.mark.parametrize(("path", "shown"), SIGNATURES, ids=[path for path, _ in SIGNATURES])
def test_signatures_are_those_of_the_code(path, shown):
    assert signature(named(path)) == shown


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder with a picture and a run of the tiny model, untrained."""
    monkeypatch.chdir(tmp_path)
    config = tiny_run.get_config()
    config.data.prepared = str(tmp_path / "data")
    save_model(tmp_path / "runs" / "demo", config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))
    Image.new("RGB", (192, 160), (90, 120, 60)).save("photo.jpg")
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "pictures" / "people.jpg", tmp_path / "docs" / "pictures")
    return tmp_path


@pytest.mark.slow
def test_the_examples_run_one_after_the_other(folder):
    names: dict[str, Any] = {}
    exec(compile(python_blocks(API), "docs/api.md", "exec"), names)
    assert names["found"]["keypoints"].shape == (4, 17, 2)
    assert len(names["results"]) == len(names["rows"]) == len(names["everybody"])
    assert (folder / "attention.png").is_file()


@pytest.mark.slow
def test_the_example_of_the_readme_runs(folder):
    names: dict[str, Any] = {}
    exec(compile(python_blocks((ROOT / "README.md").read_text()), "README.md", "exec"), names)
    assert (folder / "out.jpg").is_file()
