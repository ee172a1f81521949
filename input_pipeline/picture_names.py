"""File names that an annotation tool wrote for its own machine: absolute, of Windows, addresses, beside the folder.

They are matched by their last part with the files that are there, and by more of their parts where several are called
that. Nothing outside of the folder of pictures is ever looked at.
"""

import os
import re
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

LONGEST_NAME = 1024  # characters of a file name: the index gives every name the room of the longest
QUERY = re.compile(r"\?(?!d=)|#")  # what follows the path of an address
SEPARATOR = re.compile(r"[\\/]+|\?d=")  # Label Studio serves local files as /data/local-files/?d=NAME


def is_inside(name: str) -> bool:
    """True for the name of a file that is printable and cannot leave the folder it is relative to."""
    if not is_name(name):
        return False
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    return not any(path.is_absolute() or path.drive or path.root or ".." in path.parts for path in kinds)


def is_name(name: object) -> bool:
    """True for a text that may be the name of a file."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()


def settle_names(images: list, folder: Path) -> list[str]:
    """Rewrites names of entries (in place): `./1.png` as `1.png`, those for another machine as that of the one file
    below `folder` that they can mean. What can mean none or several stays as it is.

    Returns:
        a line where names were matched.
    """
    foreign: list[dict] = []
    taken: Counter[str] = Counter()
    for image in images:
        name = image.get("file_name") if isinstance(image, dict) else None
        if not is_name(name):
            continue
        if is_foreign(name, folder):
            foreign.append(image)
        elif is_inside(name):
            image["file_name"] = str(PurePosixPath(name))
            taken[image["file_name"]] += 1
    if not foreign:
        return []
    files = files_by_last_part(folder)
    match = {name: match_name(name, files) for name in {image["file_name"] for image in foreign}}
    taken.update(file for file in match.values() if file)
    matched = [image for image in foreign if match[image["file_name"]] and taken[match[image["file_name"]]] == 1]
    if not matched:
        return []
    first = matched[0]["file_name"]
    for image in matched:
        image["file_name"] = match[image["file_name"]]
    return [
        f"{len(matched)} file names are paths of another machine and were matched by their last part: {first!r} is "
        f"{matched[0]['file_name']!r} of {folder}"
    ]


def is_foreign(name: str, folder: Path) -> bool:
    """True for a name that is not relative to the folder; a backslash is a letter where a file is called so."""
    return not is_inside(name) or "://" in name or ("\\" in name and not (folder / name).is_file())


def files_by_last_part(folder: Path) -> dict[str, list[str]]:
    """Names, relative to the folder, of all files below it; none of a whole disk, which is the folder of pictures that
    share no other (a YOLO list may have some from anywhere)."""
    found: dict[str, list[str]] = {}
    if folder.resolve() == Path(folder.resolve().anchor):
        return found
    for place, _, names in os.walk(folder):
        for name in names:
            found.setdefault(name, []).append(Path(place, name).relative_to(folder).as_posix())
    return found


def match_name(name: str, files: dict[str, list[str]]) -> str | None:
    """The file that shares more last parts with the name than any other one, None where there is no such file.

    Where none is called so, the name is read as an address: %20 for a space, without what follows ? or #.
    """
    return _match_spelling(name, files) or _match_spelling(unquote(QUERY.split(name)[0]), files)


def _match_spelling(name: str, files: dict[str, list[str]]) -> str | None:
    parts = [part for part in SEPARATOR.split(name) if part not in ("", ".", "..")]
    candidates = files.get(parts[-1], []) if parts else []
    for count in range(len(parts), 0, -1):
        alike = [file for file in candidates if file.split("/")[-count:] == parts[-count:]]
        if alike:
            return alike[0] if len(alike) == 1 else None
    return None
