"""What is written twice says the same."""

import re
import tomllib
from pathlib import Path

import querypose_jax

ROOT = Path(__file__).parent.parent


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_list_exactly_the_dependencies_and_extras():
    extras = project()["optional-dependencies"]
    declared = [*project()["dependencies"], *extras["train"], *extras["dev"]]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert sorted(line for line in lines if line and not line.startswith("#")) == sorted(declared)


def test_every_requirement_has_a_lower_and_an_upper_bound():
    for line in project()["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", line), line


def test_the_changelog_knows_the_version():
    assert f"## {querypose_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
