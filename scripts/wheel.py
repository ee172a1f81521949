"""Builds the wheel twice and keeps it where both are equal to the byte.

    python scripts/wheel.py [--output=dist]

What git tracks is copied into two folders of unlike names, times and order, with the same permissions whatever those of
the clone are, and built in each, without a network. Files in it get the time of the last commit (or SOURCE_DATE_EPOCH).
Prints the SHA-256: the same commit gives the same one wherever setuptools and wheel are those of requirements.lock.
Exit code 1 where the two differ, and in which files.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIP = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
UMASK, MODE = 0o022, 0o644  # a wheel's files have the permissions of new files, its licence those of the clone's
EARLIEST = 315532800  # 1980, before which a zip file knows no time


def git(*arguments: str) -> str:
    """What a git command prints; ends the script with a line where it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {ROOT}: {done.stderr.strip() or 'git failed'}; build from a clone")
    return done.stdout


def sources() -> list[str]:
    """Paths that git tracks and that are there."""
    return [name for name in git("ls-files", "-z").split("\0") if name and (ROOT / name).is_file()]


def copied(names: list[str], folder: Path, time: float) -> Path:
    """A copy whose files have this time."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, path)
        path.chmod(MODE)
        os.utime(path, (time, time))
    return folder


def built(folder: Path, output: Path, time: int) -> Path:
    """The wheel of such a copy."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(time)}
    command = [sys.executable, "-m", "pip", "wheel", *PIP, "--wheel-dir", str(output), str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, umask=UMASK)
    if done.returncode:
        raise SystemExit(f"error: the wheel is not built: {done.stderr.strip()[-500:]}")
    return next(output.glob("*.whl"))


def differing(one: Path, other: Path) -> list[str]:
    """Names of what is not the same in two wheels: content, time, permissions or place."""
    told = []
    for path in (one, other):
        with zipfile.ZipFile(path) as wheel:
            told.append({e.filename: (e.CRC, e.date_time, e.external_attr, e.header_offset) for e in wheel.infolist()})
    return sorted(name for name in told[0].keys() | told[1].keys() if told[0].get(name) != told[1].get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    time = max(int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct")), EARLIEST)
    names = sources()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        one = built(copied(names, place / "a", time), place / "one", time)
        other = built(copied(names[::-1], place / "another folder", 1e9), place / "other", time)
        if one.read_bytes() != other.read_bytes():
            print(f"error: two builds differ in {', '.join(differing(one, other)[:10]) or 'how they are packed'}")
            return 1
        options.output.mkdir(parents=True, exist_ok=True)
        wheel = Path(shutil.copy(one, options.output))
    print(f"{wheel}: SHA-256 {hashlib.sha256(wheel.read_bytes()).hexdigest()} from two builds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
