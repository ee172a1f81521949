"""The zip archives that torch.save writes: entries as they are, not compressed, mapped into memory.

An archive is read the way it is to be distrusted: the directory at its end says where each entry lies, and every number
in it is held against the size of the file before it is used. Nothing is copied but names, and nothing is unpacked.
(Field names and offsets: section 4.3 of PKWARE's APPNOTE.TXT.)
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

MAX_ENTRIES = 100_000  # one for each tensor: far more than models have, averages and optimizers' states included
MAX_NAME = 500  # bytes
LONGEST_COMMENT = 2**16 - 1
ENCRYPTED = 1  # bit of the flags
IN_64_BITS = 2**32 - 1  # stands for a number that is in the entry's zip64 field
ZIP64 = 1  # id of that field

END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END_64 = struct.Struct("<4sQ2H2L4Q")
LISTED = struct.Struct("<4s6H3L5H2L")  # an entry in the directory
LOCAL = struct.Struct("<4s5H3L2H")  # what stands before its content


class Entry(NamedTuple):
    """Where an entry lies."""

    at: int  # its header
    size: int  # of its content, bytes
    crc: int
    limit: int  # where the next entry, or the directory, begins


class Archive(NamedTuple):
    """An archive whose content stays in the file until it is looked at."""

    mapped: memoryview
    entries: dict[str, Entry]

    def content(self, name: str) -> memoryview:
        """The bytes of an entry, mapped and read-only.

        Raises:
            KeyError: there is no such entry.
            ValueError: it leaves its place, or its checksum is another one. torch can be told to write none (0).
        """
        entry = self.entries[name]
        signature, *_, name_length, extra_length = LOCAL.unpack_from(self.mapped, entry.at)
        start = entry.at + LOCAL.size + name_length + extra_length
        if signature != b"PK\3\4" or start + entry.size > entry.limit:
            raise ValueError(f"{name!r:.60} is not where the directory says")
        content = self.mapped[start : start + entry.size]
        if entry.crc and zlib.crc32(content) != entry.crc:
            raise ValueError(f"{name!r:.60} is damaged")
        return content


def open_archive(path: Path) -> Archive:
    """Maps an archive and reads its directory.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or not what torch.save writes.
    """
    with path.open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    count, at, end = find_directory(mapped)
    listed: dict[str, Entry] = {}
    for name, entry in directory(mapped, count, at, end):
        if name in listed:
            raise ValueError(f"two entries are called {name!r:.60}")
        listed[name] = entry
    in_order = sorted(listed, key=lambda name: listed[name].at)
    for name, following in pairwise(in_order):
        listed[name] = listed[name]._replace(limit=listed[following].at)
    for name, entry in listed.items():
        if entry.at + LOCAL.size + entry.size > entry.limit:
            raise ValueError(f"{name!r:.60} overlaps what follows")
    return Archive(mapped, listed)


def find_directory(mapped: memoryview) -> tuple[int, int, int]:
    """The number of entries, and where the directory begins and ends."""
    tail = bytes(mapped[-(END.size + LONGEST_COMMENT) :])
    in_tail = tail.rfind(b"PK\5\6", 0, len(tail) - END.size + 4)
    if in_tail < 0:
        raise ValueError("no archive, or the end of it is missing")
    end = len(mapped) - len(tail) + in_tail
    *_, count, size, at, _ = END.unpack_from(mapped, end)
    if end >= LOCATOR.size and mapped[end - LOCATOR.size : end - LOCATOR.size + 4] == b"PK\6\7":
        _, _, end, _ = LOCATOR.unpack_from(mapped, end - LOCATOR.size)
        if end + END_64.size > len(mapped) or mapped[end : end + 4] != b"PK\6\6":
            raise ValueError("the end of its directory is not where it says")
        *_, count, size, at = END_64.unpack_from(mapped, end)
    if at + size > end:
        raise ValueError("its directory is larger than the file")
    if count > MAX_ENTRIES:
        raise ValueError(f"{count} entries, more than {MAX_ENTRIES}")
    return count, at, at + size


def directory(mapped: memoryview, count: int, at: int, end: int) -> Iterator[tuple[str, Entry]]:
    """The entries of a directory, each with the directory for its limit."""
    first = at
    for _ in range(count):
        if at + LISTED.size > end or mapped[at : at + 4] != b"PK\1\2":
            raise ValueError("its directory is damaged")
        fields = LISTED.unpack_from(mapped, at)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        name_length, extra_length, comment_length, header = *fields[10:13], fields[16]
        at += LISTED.size
        if at + name_length + extra_length + comment_length > end:
            raise ValueError("its directory is damaged")
        name = checked_name(bytes(mapped[at : at + min(name_length, MAX_NAME + 1)]))
        extra = mapped[at + name_length : at + name_length + extra_length]
        size, packed, header = in_64_bits(extra, size, packed, header)
        if method or packed != size or flags & ENCRYPTED:
            raise ValueError(f"{name!r:.60} is compressed or encrypted, torch.save writes bytes as they are")
        yield name, Entry(header, size, crc, first)
        at += name_length + extra_length + comment_length


def in_64_bits(extra: memoryview, *numbers: int) -> list[int]:
    """The numbers of an entry (size, packed size, place), those too large for 32 bits from its zip64 field."""
    at, values = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == ZIP64:
            values = bytes(extra[at + 4 : at + 4 + length])
        at += 4 + length
    wide = iter(struct.unpack(f"<{len(values) // 8}Q", values[: len(values) // 8 * 8]))
    return [next(wide, number) if number == IN_64_BITS else number for number in numbers]


def checked_name(name: bytes) -> str:
    """The name of an entry; raises ValueError for one that no torch.save writes: too long, or leading elsewhere."""
    text = name.decode()
    leads_elsewhere = text.startswith("/") or ".." in text.split("/") or "\\" in text
    if len(name) > MAX_NAME or "\0" in text or leads_elsewhere:
        raise ValueError(f"an entry is called {text!r:.60}")
    return text
