"""Playlists of films by HTTP (HLS, RFC 8216), looked at before FFmpeg follows them.

A playlist names films, or playlists that name films. FFmpeg follows one whose playlists name playlists again, and where
they lead back, it does so until its time is over, with 30 MB more every second.
"""

import re
import time
from http.client import HTTPException
from urllib.parse import urljoin

from querypose_jax.inference.addresses import is_by_http, opened, split, without_password, without_user
from querypose_jax.pictures import PictureError

FIRST_LINE = b"#EXTM3U"
LARGEST_PLAYLIST = 2**20  # bytes that are looked at
MOST_PLAYLISTS = 100  # of different size, language, ...
LONGEST_S = 60.0  # for all of them together
URI = re.compile(r'URI="?([^",]+)')


def refuse_nested(address: str) -> None:
    """Does nothing for a film, or a playlist that FFmpeg comes to an end with.

    Args:
        address: by http or https. What cannot be fetched is left to FFmpeg, which says why it cannot.

    Raises:
        PictureError: playlists of playlists of playlists, or too many.
    """
    inner, until = inner_playlists(address), time.monotonic() + LONGEST_S
    if len(inner) > MOST_PLAYLISTS:
        raise PictureError(
            f"{without_password(address)}: names more than {MOST_PLAYLISTS} playlists; choose one of them"
        )
    for playlist in inner:
        if time.monotonic() > until:
            raise PictureError(f"{without_password(address)}: its playlists take more than {LONGEST_S:.0f} s to arrive")
        if inner_playlists(playlist):
            raise PictureError(f"{without_password(address)}: names playlists that name playlists again; choose a film")


def inner_playlists(address: str) -> list[str]:
    """The addresses of the playlists that a playlist names; none for anything else."""
    try:
        with opened(address) as answer:
            answer.length = answer.length or None  # 0: FFmpeg reads what comes
            content = answer.read(len(FIRST_LINE))
            if content != FIRST_LINE:
                return []
            content += answer.read(LARGEST_PLAYLIST)
            base = address if answer.url == without_user(split(address)).geturl() else answer.url
    except (PictureError, OSError, HTTPException):
        return []
    found, is_next = [], False
    for line in map(str.rstrip, content.decode("utf-8", "replace").split("\n")):
        if line.startswith("#EXT-X-STREAM-INF:"):
            is_next = True  # the next line that is neither empty nor begins with #
        elif line.startswith("#EXT-X-MEDIA:"):
            found += URI.findall(line)
        elif is_next and line and not line.startswith("#"):
            found.append(line)
            is_next = False
    return [place for name in found if (place := joined(base, name))]


def joined(base: str, name: str) -> str:
    """The address of what a playlist calls so; "" where it is none by http, which FFmpeg refuses itself."""
    try:
        place = urljoin(base, name.strip())
    except ValueError:
        return ""
    return place if is_by_http(place) else ""
