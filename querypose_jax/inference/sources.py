"""What a user may hand in as pictures, and how it becomes RGB pictures one by one."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.pictures import PictureError, as_rgb, read_picture

PictureSource = str | os.PathLike | bytes | np.ndarray | Image.Image
"""One picture: a path, the bytes of a file, RGB pixels (uint8 H W 3), or a Pillow picture."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
"""Files of a folder that count as pictures."""

LIST_SUFFIX = ".txt"  # of a file with a path per line


def list_pictures(pattern: str | os.PathLike) -> list[Path]:
    """Paths named by a picture, a folder (its pictures by name, not those of folders inside) or a glob, sorted, or by
    a text file (.txt) with a path per line, in its order; relative paths count from the file's folder.

    Raises:
        UserError: nothing has this name, or there is no picture in it.
    """
    path = Path(pattern)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise UserError(f"{path}: no pictures in this folder ({', '.join(sorted(SUFFIXES))})")
        return found
    if path.suffix.lower() == LIST_SUFFIX and path.exists():
        return _listed_pictures(path)
    if is_many(pattern) and glob.has_magic(str(pattern)):
        found = sorted(Path(name) for name in glob.glob(str(pattern), recursive=True) if Path(name).is_file())
        if not found:
            raise UserError(f"{pattern}: no file fits this pattern")
        return found
    if not path.exists():
        raise UserError(f"{path}: no such picture or folder")
    return [path]


def _listed_pictures(path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; a list of pictures holds a path per line") from None
    if not any(lines):
        raise UserError(f"{path}: this list names no picture")
    return [path.parent / line for line in lines if line]


def is_many(source: object) -> bool:
    """True for what gives a list of pictures: a folder, a glob that is no file's name, a text file, a list or tuple."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return (
            path.is_dir() or path.suffix.lower() == LIST_SUFFIX or (glob.has_magic(str(source)) and not path.exists())
        )
    return isinstance(source, list | tuple)


def open_picture(source: PictureSource) -> tuple[str, Image.Image]:
    """(path, or "" where it has none; RGB picture).

    Raises:
        PictureError: the file cannot be read as a picture.
        UserError: the source is of another type, or an array of another shape or dtype.
    """
    if isinstance(source, str | os.PathLike):
        return str(source), read_picture(Path(source))
    if isinstance(source, bytes):
        return "", read_picture(source)
    if isinstance(source, Image.Image):
        return "", as_rgb(source)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or source.size == 0:
            raise UserError(f"array of shape {source.shape} and dtype {source.dtype}: need RGB pixels, uint8 [H, W, 3]")
        return "", Image.fromarray(source)
    raise UserError(f"{type(source).__name__} is no picture: give a path, bytes, uint8 RGB array or Pillow picture")


def open_pictures(
    sources: Iterable[PictureSource], on_error: Callable[[PictureError], None] | None = None
) -> Iterator[tuple[str, Image.Image]]:
    """Opens pictures one after the other; one that cannot be read goes to `on_error` and is left out (None: raises)."""
    for source in sources:
        try:
            yield open_picture(source)
        except PictureError as error:
            if on_error is None:
                raise
            on_error(error)
