"""Files that are saved under the name of weights and hold something else: what failed downloads leave behind."""

from pathlib import Path

LOOKED_AT = 512  # bytes
HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
COMPRESSED = {
    b"\x1f\x8b": "a gzip archive; unpack it and name the file in it",
    b"7z\xbc\xaf": "a 7z archive; unpack it and name the file in it",
    b"Rar!": "a RAR archive; unpack it and name the file in it",
}


def what_it_is(path: Path) -> str | None:
    """In words what a file is that is certainly no file of weights, and what to do; None where it may be one."""
    with path.open("rb") as file:
        head = file.read(LOOKED_AT)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "an empty file (0 bytes): the download did not begin; get it again"
    if text.startswith(HTML):
        return "a web page saved under this name: the host answered with a page; open the address in a browser and " \
            "download the file itself"  # fmt: skip
    if head.startswith(LFS_POINTER):
        return "a pointer of git-lfs, not the file it stands for; run `git lfs pull` in its repository"
    return next((said for magic, said in COMPRESSED.items() if head.startswith(magic)), None)
