"""Checks the installed packages: against the bounds of pyproject.toml, and against known vulnerabilities.

    python scripts/audit.py [--offline]

The first half needs no network. The second asks pip-audit (`pip install pip-audit`), which asks a database over the
network; where either is missing one line says so. Exit code 1 when a bound is broken or a vulnerability is known.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PATIENCE_S = 300  # for the database


def requirements(project: dict) -> Iterator[tuple[str, Requirement]]:
    """(the extra it belongs to or "", the requirement) of the [project] table."""
    yield from (("", Requirement(line)) for line in project["dependencies"])
    for extra, lines in project["optional-dependencies"].items():
        yield from ((extra, Requirement(line)) for line in lines)


def installed() -> dict[str, str]:
    """Versions by canonical name."""
    return {canonicalize_name(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}


def broken_bounds(project: dict, versions: dict[str, str]) -> list[str]:
    """A line for each installed package outside of its bounds, and for each required one that is missing.

    Packages of an extra may be missing.
    """
    lines = []
    for extra, requirement in requirements(project):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        version = versions.get(canonicalize_name(requirement.name))
        wanted = f"{requirement.name}{requirement.specifier}"
        if version is None and not extra:
            lines.append(f"{wanted} is not installed")
        elif version is not None and not requirement.specifier.contains(version, prereleases=True):
            lines.append(f"{requirement.name} {version} is installed, wanted is {wanted}")
    return lines


def known_vulnerabilities() -> tuple[list[str], str]:
    """(a line per known vulnerability, what could not be asked or "")."""
    if importlib.util.find_spec("pip_audit") is None:
        return [], "pip-audit is not installed: pip install pip-audit"
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--local"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return [], f"pip-audit had no answer after {PATIENCE_S} s"
    except (json.JSONDecodeError, KeyError):
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return [], f"pip-audit could not reach its database ({said[-1][:200]})"
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    lines = []
    for package in packages:
        for known in package.get("vulns", ()):
            names = ", ".join([known["id"], *known.get("aliases", ())])
            fixed = " or ".join(known.get("fix_versions", ())) or "none yet"
            lines.append(f"{package['name']} {package['version']}: {names}; fixed in {fixed}")
    why = f"pip-audit found {len(skipped)} of {len(packages)} packages in no index it could reach" if skipped else ""
    return lines, why


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="bounds only")
    options = parser.parse_args()
    project, versions = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"], installed()
    bounds = broken_bounds(project, versions)
    print("\n".join(bounds) or f"bounds: all {len(list(requirements(project)))} hold among {len(versions)} packages")
    vulnerable, why = ([], "not asked for") if options.offline else known_vulnerabilities()
    print("\n".join([*vulnerable, f"vulnerabilities: {why or f'{len(vulnerable)} known'}"]))
    return int(bool(bounds or vulnerable))


if __name__ == "__main__":
    sys.exit(main())
