"""Checks the installed packages: against the bounds of pyproject.toml, and against known vulnerabilities.

    python scripts/audit.py [--offline] [--database=DIR|FILE.zip]

The first half needs no network. The second asks pip-audit (`pip install pip-audit`), which asks a database over the
network; where either is missing one line says so. With --database it reads a copy of a database instead and needs
neither: records in OSV's form, one JSON file each, in a folder or in a zip file (as OSV offers them for PyPI). Exit
code 1 when a bound is broken or a vulnerability is known, 2 when the database cannot be read.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

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


def asked_of_pip_audit() -> tuple[list[str], str]:
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


def records(database: Path) -> Iterator[dict]:
    """Every JSON file of a folder, however deep, or of a zip file.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: it is neither, or a file in it is not JSON.
    """
    if database.is_dir():
        yield from (json.loads(path.read_bytes()) for path in sorted(database.rglob("*.json")))
        return
    with zipfile.ZipFile(database) as archive:
        yield from (json.loads(archive.read(name)) for name in sorted(archive.namelist()) if name.endswith(".json"))


def is_affected(version: str, affected: dict) -> bool:
    """Whether a record's entry for a package means this version: it is listed, or it lies in a range of versions.

    Ranges of git commits say nothing about what is installed. A version that is none in Python's sense is equal to
    itself only; an entry without versions and ranges means all of them.
    """
    ranges = [r for r in affected.get("ranges", ()) if r.get("type") in ("ECOSYSTEM", "SEMVER")]
    listed = affected.get("versions", ())
    if version in listed or not (listed or affected.get("ranges")):
        return True
    try:
        return any(is_inside(Version(version), r["events"]) for r in ranges)
    except InvalidVersion:
        return False


def is_inside(version: Version, events: Iterable[dict[str, str]]) -> bool:
    """Whether a version lies between an `introduced` and the next `fixed` (excluded) or `last_affected` (included)."""
    ordered = sorted(
        ((Version(at), kind) for event in events for kind, at in event.items() if kind != "limit"),
        key=lambda event: (event[0], event[1] == "introduced"),  # fixed and broken again in one version: broken
    )
    inside = False
    for at, kind in ordered:
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def known_in(database: Path, versions: dict[str, str]) -> tuple[list[str], str]:
    """(a line per vulnerability of an installed version, how much the database knows and until when).

    Withdrawn records do not count; one that another database has under another name is told once.

    Raises:
        SystemExit: with a line, where the database cannot be read or holds nothing about PyPI.
    """
    lines, told, number, newest = [], set(), 0, ""
    try:
        for record in records(database):
            entries = [a for a in record.get("affected", ()) if a.get("package", {}).get("ecosystem") == "PyPI"]
            number, newest = number + bool(entries), max(newest, record.get("modified", "")[:10] if entries else "")
            names = [record["id"], *record.get("aliases", ())]
            for entry in [] if "withdrawn" in record else entries:
                name = canonicalize_name(entry["package"]["name"])
                if name not in versions or not is_affected(versions[name], entry):
                    continue
                if not told & {(name, known) for known in names}:
                    fixed = [e["fixed"] for r in entry.get("ranges", ()) for e in r["events"] if "fixed" in e]
                    lines.append(
                        f"{name} {versions[name]}: {', '.join(names)}; fixed in {' or '.join(fixed) or 'none yet'}"
                    )
                told |= {(name, known) for known in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise no_database(
            database, f"cannot be read as advisories in OSV's form ({type(error).__name__}: {error})"
        ) from None
    if not number:
        raise no_database(database, "holds no advisory for PyPI")
    return lines, f"{len(lines)} known; {number} advisories, the newest of {newest}"


def no_database(database: Path, why: str) -> SystemExit:
    """Exit code 2, and a line on it."""
    print(f"error: {database}: {why}; get OSV's records for PyPI, as a folder or a zip file", file=sys.stderr)
    return SystemExit(2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="bounds only")
    parser.add_argument("--database", type=Path, help="folder or zip file of advisories in OSV's form")
    options = parser.parse_args()
    project, versions = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"], installed()
    bounds = broken_bounds(project, versions)
    print("\n".join(bounds) or f"bounds: all {len(list(requirements(project)))} hold among {len(versions)} packages")
    if options.database:
        vulnerable, said = known_in(options.database, versions)
    elif options.offline:
        vulnerable, said = [], "not asked for"
    else:
        vulnerable, why = asked_of_pip_audit()
        said = why or f"{len(vulnerable)} known"
    print("\n".join([*vulnerable, f"vulnerabilities: {said}"]))
    return int(bool(bounds or vulnerable))


if __name__ == "__main__":
    sys.exit(main())
