"""The lock file, the bill of materials and the wheel: whole, and the same for everybody."""

import importlib.metadata
import json
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import sbom, wheel

ROOT = Path(__file__).parent.parent


def wanted() -> list[Requirement]:
    """What requirements.txt says."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def locked() -> dict[tuple[str, str], tuple[str, list[str]]]:
    """{(canonical name, marker): (version, hashes)} of requirements.lock, whose lines may be continued."""
    text = re.sub(r"^#.*\n", "", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    found = {}
    for line in text.replace("\\\n", "").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        match = re.fullmatch(r"([\w.-]+)==(\S+?)(?: ; (.+))?", requirement)
        assert match, line
        found[canonicalize_name(match[1]), match[3] or ""] = match[2], hashes
    return found


def test_every_locked_package_has_one_version_and_its_hashes(locked):
    for (name, _), (_, hashes) in locked.items():
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), name


def test_the_lock_file_names_no_place_to_install_from(locked):
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text and "index-url" not in text and "find-links" not in text


def test_the_lock_file_holds_every_requirement_within_its_bounds(locked):
    for requirement in wanted():
        name = canonicalize_name(requirement.name)
        versions = [version for (locked_name, _), (version, _) in locked.items() if locked_name == name]
        assert versions, name
        assert all(version in requirement.specifier for version in versions), name


def test_the_lock_file_holds_whatever_those_need_here(locked):
    """Nothing would be looked for elsewhere, which pip refuses where hashes are told."""
    here = {name for name, marker in locked if not marker or Requirement(f"x; {marker}").marker.evaluate()}
    assert sbom.closure(map(str, wanted())).keys() <= here


def test_the_bill_of_materials_is_whole_and_the_same_every_time(tmp_path):
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    for path in (first, second):
        done = subprocess.run([sys.executable, "scripts/sbom.py", f"--output={path}"], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert first.read_bytes() == second.read_bytes()
    content = json.loads(first.read_text())
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    components = {entry["bom-ref"]: entry for entry in content["components"]}
    assert len(components) == len(content["components"]) > len(wanted())
    for entry in components.values():
        assert entry["version"] == importlib.metadata.version(entry["name"])
    own = content["metadata"]["component"]["bom-ref"]
    assert {d["ref"] for d in content["dependencies"]} == {own, *components}
    assert all(components.keys() >= set(d["dependsOn"]) for d in content["dependencies"])
    reached, asked = set(), [own]
    needs = {d["ref"]: d["dependsOn"] for d in content["dependencies"]}
    while asked:
        if (ref := asked.pop()) not in reached:
            reached.add(ref)
            asked += needs[ref]
    assert reached == {own, *components}  # nothing is in it that nobody needs


def test_licences_are_expressions_names_or_classifiers_and_never_whole_texts():
    def of(**fields) -> list[dict]:
        message = Message()
        for name, value in fields.items():
            message[name.replace("_", "-")] = value
        return sbom.licence(message)

    assert of(License_Expression="MIT OR Apache-2.0", License="MIT") == [{"expression": "MIT OR Apache-2.0"}]
    assert of(License="BSD 3-Clause") == [{"license": {"name": "BSD 3-Clause"}}]
    long = of(License="Copyright\n" * 3, Classifier="License :: OSI Approved :: BSD License")
    assert long == [{"license": {"name": "BSD License"}}]
    assert of() == []


@pytest.mark.slow
def test_two_builds_of_the_wheel_are_equal_and_hold_all_of_the_packages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wheel.py", f"--output={tmp_path}"])
    assert wheel.main() == 0, capsys.readouterr().out
    assert re.search(r"SHA-256 [0-9a-f]{64} from two builds", capsys.readouterr().out)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    packages = ("querypose_jax", "configs", "input_pipeline", "kernels", "launch.py")
    assert held == {name for name in wheel.sources() if name.split("/")[0] in packages}


@pytest.mark.parametrize("change", ["content", "time", "mode"])
def test_what_differs_between_two_wheels_is_named(tmp_path, change):
    paths = []
    for number in range(2):
        other = number == 1
        entry = zipfile.ZipInfo("a/b.py", (2020, 1, 1, 0, 0, 2 if other and change == "time" else 0))
        entry.external_attr = (0o664 if other and change == "mode" else 0o644) << 16
        paths.append(tmp_path / f"{number}.whl")
        with zipfile.ZipFile(paths[-1], "w") as archive:
            archive.writestr("same.py", "")
            archive.writestr(entry, "2" if other and change == "content" else "1")
    assert wheel.differing(*paths) == ["a/b.py"]


def test_whoever_compares_with_torch_asks_the_fixture_for_it():
    """Only so does `make test-torch` find it."""
    asking = [p for p in (ROOT / "tests").rglob("*.py") if re.search(r'importorskip\(\s*"torch"', p.read_text())]
    assert asking == [ROOT / "tests" / "conftest.py"]
