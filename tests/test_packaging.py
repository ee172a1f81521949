"""What is written twice says the same; what is installed works where the repository is not."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from flax import nnx
from PIL import Image

import querypose_jax
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.models.registry import build_model
from tests import tiny_run

ROOT = Path(__file__).parent.parent


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_list_exactly_the_dependencies_and_extras():
    extras = project()["optional-dependencies"]
    declared = [*project()["dependencies"], *extras["train"], *extras["video"], *extras["dev"]]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert sorted(line for line in lines if line and not line.startswith("#")) == sorted(declared)


def test_every_requirement_has_a_lower_and_an_upper_bound():
    for line in project()["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", line), line


def test_the_changelog_knows_the_version():
    assert f"## {querypose_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture
def installed(tmp_path) -> Path:
    """A folder that pip has installed a copy of the sources into, without their dependencies and without a network."""
    copy, target = tmp_path / "sources", tmp_path / "site"
    for name in ("querypose_jax", "configs", "input_pipeline", "kernels"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "launch.py"):
        shutil.copy(ROOT / name, copy / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(copy)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(copy)
    return target


@pytest.mark.slow
def test_an_installed_copy_predicts_from_another_folder_without_tensorflow(installed, tmp_path):
    config = tiny_run.get_config()
    save_model(tmp_path / "run", config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))
    work = tmp_path / "work"
    work.mkdir()
    Image.new("RGB", (80, 60), (90, 120, 60)).save(work / "grass.png")
    blocked = tmp_path / "blocked" / "tensorflow"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError('not installed here', name='tensorflow')")
    path = os.pathsep.join([str(blocked.parent), str(installed)])
    environment = os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    modules = "launch, querypose_jax, kernels.roi_align, kernels.assignment, configs.coco_r50"
    where = python("-c", f"import {modules}; print(launch.__file__, querypose_jax.__file__, querypose_jax.__version__)")
    assert where.split() == [
        str(installed / "launch.py"), str(installed / "querypose_jax" / "__init__.py"), querypose_jax.__version__
    ]  # fmt: skip
    said = python(
        "-m", "launch", "--mode=predict", f"--workdir={tmp_path / 'run'}", "--input=grass.png", "--output=out"
    )  # fmt: skip
    assert "1 picture with poses" in said
    assert sorted(path.name for path in (work / "out").iterdir()) == ["grass.jpg", "predictions.json"]
