"""A file of weights by its address or its name in docs/models.md: fetched once, resumed, checked against a SHA-256.

gdown does the fetching: it goes on where an earlier try stopped, tries again when the line breaks, shows how far it
is, and knows the pages that stand before large files of Google Drive. The extra `download` brings it.
"""

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from querypose_jax.errors import UserError
from querypose_jax.files import cache_folder
from querypose_jax.weights.formats import checksum, short
from querypose_jax.weights.published import Published, published
from querypose_jax.weights.strangers import what_it_is

FOLDER = "downloads"
ANY = "any"  # in place of a SHA-256: whatever comes is taken
TRIES, PATIENCE = 5, 60.0  # of the connection; seconds without a byte
KNOWN_DIGITS = 8  # of a SHA-256, the fewest that prove anything


def is_download(text: str) -> bool:
    """True for an address that weights are downloaded from: http and https alone, no streams."""
    return text.startswith(("http://", "https://"))


def local_file(text: str, sha256: str = "") -> Path:
    """The file that --weights or --config.init_from names; it is downloaded only where a name or an address says so.

    Args:
        text: a file, an address, or the name of a published file.
        sha256: that of the file in hex digits, or ANY; "" where it is known or the file is here.

    Raises:
        UserError: neither file nor address nor known name, no SHA-256 to compare with, another one than expected, or
            the download failed.
    """
    if Path(text).exists():
        return matching(Path(text), sha256)
    if is_download(text):
        name = Path(unquote(urlsplit(text).path)).name
        listed = next((p for p in published() if p.address == text), None)
        return fetch(listed or Published(text, name, text, "", "", None), sha256)
    listed = next((p for p in published() if text in (p.name, p.file)), None)
    if listed is None:
        raise UserError(
            f"{text}: no such file or folder, nor the name of a published one with a link (docs/models.md lists those)"
        )
    return fetch(listed, sha256, f"{text}: no such file here; ")


def fetch(wanted: Published, sha256: str, why: str = "") -> Path:
    """Downloads a file into the user's cache, unless it is there; `why` begins the error where that cannot be checked,
    other errors as in `local_file`."""
    expected = sha256 or wanted.sha256
    if not expected:
        raise UserError(
            f"{why}{wanted.address}: no SHA-256 is known for this file; give the one its publisher states, "
            f"--sha256=HEX, or take what comes with --sha256={ANY}"
        )
    if expected != ANY and not re.fullmatch(f"[0-9a-fA-F]{{{KNOWN_DIGITS},64}}", expected):
        raise UserError(f"--sha256={expected}: must be the hex digits of a SHA-256, or {ANY}")
    by_address = hashlib.sha256(wanted.address.encode()).hexdigest()[:16]  # two hosts may use one name
    path = cache_folder() / FOLDER / by_address / (wanted.file or "weights.pth")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        transfer(wanted.address, path)
    return matching(path, expected, downloaded=True)


def transfer(address: str, path: Path) -> None:
    """Fetches an address into a file that exists whole or not at all; what an earlier try left is gone on from."""
    try:
        import gdown
    except ModuleNotFoundError:
        raise UserError("downloads need the package gdown; pip install '.[download]' in the clone") from None
    try:
        gdown.download(address, str(path), resume=True, use_cookies=False, timeout=PATIENCE, retries=TRIES)
    except Exception as error:  # of the line, the host, the disk
        kept = "; what came is kept, the same command goes on" if list(path.parent.glob(f"{path.name}*.part")) else ""
        raise UserError(f"{address}: could not be downloaded ({short(error)}){kept}") from None


def matching(path: Path, expected: str, downloaded: bool = False) -> Path:
    """The file, if it has the checksum; of a download that has another one nothing stays.

    Raises:
        UserError: it has another one, or a download is a web page or another file that is certainly no weights.
    """
    stranger = what_it_is(path) if downloaded else None
    found = "" if expected in ("", ANY) else checksum(path)
    if not stranger and found.startswith(expected.lower() if found else ""):
        return path
    if downloaded:
        path.unlink()
    if stranger:
        raise UserError(f"{path.name}: what came is {stranger}")
    raise UserError(f"{path}: its SHA-256 is {found}, not {expected}; it is another file, or damaged: get it again")
