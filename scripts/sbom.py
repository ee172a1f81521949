"""Writes what the project is made of: every installed package that it needs, as CycloneDX 1.6 (JSON).

    python scripts/sbom.py [--output=dist/sbom.json] [--extras=train,video,dev]

Names, versions, licences and who needs whom come from the installed packages, beginning with pyproject.toml. The same
packages give the same file, to the byte: it holds no time, and its serial number follows from its content.
"""

import argparse
import importlib.metadata
import json
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
EXTRAS = ("train", "video", "dev")  # what requirements.txt installs
LONGEST_NAME = 100  # characters; longer ones are whole licence texts


def needed(lines: Iterable[str], extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """(canonical name, its extras) of requirements that apply here, those of `extras` among them."""
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def closure(lines: Iterable[str]) -> dict[str, set[str]]:
    """All packages that are needed, and which others each of them needs directly.

    Raises:
        SystemExit: one of them is not installed.
    """
    found: dict[str, set[str]] = {}
    seen, open_ones = set(), list(needed(lines, frozenset()))
    while open_ones:
        name, extras = wanted = open_ones.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        try:
            requires = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(f"error: {name} is needed but not installed; make env") from None
        asked = list(needed(requires, extras))
        found.setdefault(name, set()).update(name for name, _ in asked)
        open_ones += asked
    return found


def licence(metadata: importlib.metadata.PackageMetadata) -> list[dict]:
    """What a package says of its licence: an SPDX expression, else a name, else its classifiers."""
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = [c for c in metadata.get_all("Classifier") or () if c.startswith("License :: ")]
    name = (metadata.get("License") or "").strip()
    is_name = name and "\n" not in name and len(name) <= LONGEST_NAME and name != "UNKNOWN"
    names = [name] if is_name else [c.rpartition(" :: ")[2] for c in classifiers]
    return [{"license": {"name": name}} for name in names]


def component(name: str) -> dict:
    """One package."""
    metadata = importlib.metadata.metadata(name)
    version = metadata["Version"]
    entry = {"type": "library", "bom-ref": reference(name), "name": metadata["Name"], "version": version}
    return entry | {"licenses": licence(metadata), "purl": reference(name)}


def reference(name: str) -> str:
    """The package URL of an installed package."""
    return f"pkg:pypi/{canonicalize_name(name)}@{importlib.metadata.version(name)}"


def bill(project: dict, version: str, extras: Iterable[str]) -> dict:
    """The whole bill of materials of the [project] table with some of its extras."""
    lines = [*project["dependencies"], *(line for e in extras for line in project["optional-dependencies"][e])]
    packages = closure(lines)
    own = f"pkg:pypi/{canonicalize_name(project['name'])}@{version}"
    direct = sorted({reference(name) for name, _ in needed(lines, frozenset())})
    dependencies = [{"ref": own, "dependsOn": direct}] + [
        {"ref": reference(name), "dependsOn": sorted(map(reference, packages[name]))} for name in sorted(packages)
    ]
    root = {"type": "application", "bom-ref": own, "name": project["name"], "version": version, "purl": own}
    content = {
        "metadata": {"component": root | {"licenses": [{"expression": project["license"]["text"]}]}},
        "components": [component(name) for name in sorted(packages)],
        "dependencies": dependencies,
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
    } | content


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from querypose_jax import __version__

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "sbom.json")
    parser.add_argument("--extras", default=",".join(EXTRAS), help="of pyproject.toml; nothing: none")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [extra for extra in options.extras.split(",") if extra]
    if unknown := set(extras) - set(project["optional-dependencies"]):
        parser.error(f"no extra {', '.join(sorted(unknown))}; there are {', '.join(project['optional-dependencies'])}")
    content = bill(project, __version__, extras)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    print(f"{options.output}: {len(content['components'])} packages")


if __name__ == "__main__":
    main()
