"""What a user may hand in as pictures, and how it becomes RGB pictures one by one."""

import codecs
import glob
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.addresses import fetch, is_address, without_password
from querypose_jax.inference.video import has_video_suffix
from querypose_jax.pictures import PictureError, as_rgb, read_picture, telling_which

PictureSource = str | os.PathLike | bytes | np.ndarray | Image.Image
"""One picture: a path, an address (http, https), the bytes of a file, RGB pixels (uint8 H W 3), or a Pillow picture."""

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs", ".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c",
    ".heic", ".heif", ".hif",
}  # fmt: skip
"""Files of a folder that count as pictures: those of every format that is read (see pictures.FORMATS)."""

LIST_SUFFIX = ".txt"  # of a file with a path per line


def list_pictures(pattern: str | os.PathLike) -> list[Path]:
    """Paths named by a picture, a folder (its pictures by name, not those of folders inside) or a glob, sorted, or by
    a text file (.txt) with a path per line, in its order; relative paths count from the file's folder.

    Links that lead nowhere are listed too, so that reading them tells.

    Raises:
        UserError: nothing has this name, or there is no picture in it.
    """
    path = Path(pattern)
    if os.path.isdir(path):
        found = files_in(path, SUFFIXES)
        if not found:
            raise UserError(f"{path}: no pictures in this folder ({', '.join(sorted(SUFFIXES))})")
        return found
    if path.suffix.lower() == LIST_SUFFIX and path.exists():
        return _listed_pictures(path)
    if is_many(pattern) and glob.has_magic(str(pattern)):
        found = sorted(p for p in map(Path, glob.glob(str(pattern), recursive=True)) if _may_be_file(p))
        if not found:
            raise UserError(f"{pattern}: no file fits this pattern")
        return found
    if not os.path.lexists(path):
        raise UserError(f"{path}: no such picture or folder")
    return [path]


def files_in(folder: str | os.PathLike, suffixes: Collection[str]) -> list[Path]:
    """The files of a folder with one of these suffixes (lower case), by name."""
    return sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in suffixes and _may_be_file(p))


def left_out(folder: str | os.PathLike) -> str:
    """In words, which files of a folder are no pictures by their suffix; "" where all are."""
    others = [p for p in Path(folder).iterdir() if p.suffix.lower() not in SUFFIXES and _may_be_file(p)]
    kinds = ", ".join(sorted({p.suffix.lower() or p.name for p in others}))
    return f"left out: {len(others)} files of {folder} that are no pictures by their suffix ({kinds})" if others else ""


def _may_be_file(path: Path) -> bool:
    """A file, or a link to nothing; what macOS keeps beside files on foreign disks (._NAME) is none."""
    return not path.name.startswith("._") and (path.is_file() or (path.is_symlink() and not path.exists()))


def _listed_pictures(path: Path) -> list[Path]:
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")  # either way without the byte order mark
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; a list of pictures holds a path per line") from None
    lines = [line.strip() for line in text.split("\n")]
    if not any(lines):
        raise UserError(f"{path}: this list names no picture")
    return [path.parent / line for line in lines if line]


def is_many(source: object) -> bool:
    """True for what gives a list of pictures: a folder, a glob that is no file's name, a text file, a list or tuple."""
    if is_address(source):
        return False  # a question mark in it is no glob
    if isinstance(source, str | os.PathLike):
        return (
            os.path.isdir(source)
            or Path(source).suffix.lower() == LIST_SUFFIX
            or (glob.has_magic(str(source)) and not os.path.lexists(source))
        )
    return isinstance(source, list | tuple)


def as_sources(given: Any) -> Iterable[PictureSource]:
    """Single pictures from whatever names or is one or many: a folder's, a glob's, a list's, one alone, or an iterable.

    Raises:
        UserError: a name of nothing, or no pictures at all.
    """
    if isinstance(given, str | os.PathLike):
        return list_pictures(given) if is_many(given) else [given]
    if isinstance(given, bytes | Image.Image) or (isinstance(given, np.ndarray) and given.ndim <= 3):
        return [given]
    if not isinstance(given, Iterable):
        raise UserError(f"{type(given).__name__} is no picture and no list of them")
    return given


def open_picture(source: PictureSource, name: str = "picture") -> tuple[str, Image.Image]:
    """(path, or "" where it has none; RGB picture).

    Args:
        source: see PictureSource.
        name: what to call a picture without a path in an error message.

    Raises:
        PictureError: the file or picture cannot be read, the source is of another type, or an array of another shape
            or dtype.
    """
    if is_address(source):
        return without_password(source), read_picture(fetch(source), without_password(source))
    if isinstance(source, str | os.PathLike):
        if has_video_suffix(source):
            raise PictureError(f"{source}: is a video; Predictor.video gives the predictions of its frames")
        return str(source), read_picture(Path(source))
    if isinstance(source, bytes):
        return "", read_picture(source, name)
    if isinstance(source, Image.Image):
        with telling_which(name):
            return "", as_rgb(source)
    if not isinstance(source, np.ndarray):
        known = "give a path, bytes, uint8 RGB array or Pillow picture"
        raise PictureError(f"{name}: {type(source).__name__} is no picture: {known}")
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or source.size == 0:
        found = f"array of shape {source.shape} and dtype {source.dtype}"
        raise PictureError(f"{name}: {found}: need RGB pixels, uint8 [H, W, 3]")
    with telling_which(name):
        return "", Image.fromarray(source)


def open_pictures(
    sources: Iterable[PictureSource], on_error: Callable[[PictureError], None] | None = None
) -> Iterator[tuple[str, Image.Image]]:
    """Opens pictures one after the other; one that cannot be read goes to `on_error` and is left out (None: raises).

    Errors call a picture without a path by its place, from 0, and carry it as `index`.
    """
    for index, source in enumerate(sources):
        try:
            yield open_picture(source, f"picture {index} (from 0)")
        except PictureError as error:
            error.index = index
            if on_error is None:
                raise
            on_error(error)
