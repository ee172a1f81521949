"""Files as torch.save writes them, made without torch: honest ones, and ones that lie wherever a test wants them to."""

import io
import math
import pickle
import struct
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np

STORAGES = {
    "float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
    "int64": "LongStorage", "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage",
    "uint8": "ByteStorage", "bool": "BoolStorage",
}  # fmt: skip
ALIGNMENT = 64  # of contents in the file
PADDING = b"FB"  # the extra field in front of a content that moves it there


class Global(NamedTuple):
    """A name of a module that need not be there."""

    module: str
    name: str


class Call(NamedTuple):
    """A function and what it is called with when the pickle is read."""

    function: Global
    arguments: tuple


class Storage(NamedTuple):
    """What a pickle says of a storage; its bytes are an entry of the archive."""

    kind: str
    key: Any
    count: Any


class TorchPickler(pickle._Pickler):
    """Writes the three above; the library's own pickler looks every name up."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_name(self, name: Global) -> None:
        self.write(pickle.GLOBAL + f"{name.module}\n{name.name}\n".encode())

    def save_call(self, call: Call) -> None:
        self.save(call.function)
        self.save(call.arguments)
        self.write(pickle.REDUCE)

    def persistent_id(self, value: Any) -> tuple | None:
        if isinstance(value, Storage):
            return "storage", Global("torch", value.kind), value.key, "cpu", value.count
        return None

    dispatch[Global] = save_name
    dispatch[Call] = save_call


def program(content: Any, protocol: int = 2) -> bytes:
    """The pickle of a content in which `view`s stand for tensors."""
    written = io.BytesIO()
    TorchPickler(written, protocol).dump(content)
    return written.getvalue()


def view(storage: Any, offset: Any, shape: Any, strides: Any) -> Call:
    """A tensor, whether there can be one like it or not. Strides and offset count numbers."""
    arguments = (storage, offset, shape, strides, False, OrderedDict())
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def parameter(tensor: Call) -> Call:
    """The tensor as a torch.nn.Parameter."""
    return Call(Global("torch._utils", "_rebuild_parameter"), (tensor, True, OrderedDict()))


def with_tensors(content: Any, storages: dict[str, bytes | memoryview]) -> Any:
    """The content with tensors for the arrays in its dicts and lists; their storages are added to `storages`."""
    if isinstance(content, dict):
        return {key: with_tensors(x, storages) for key, x in content.items()}
    if isinstance(content, list):
        return [with_tensors(x, storages) for x in content]
    if not isinstance(content, np.ndarray):
        return content
    key = str(len(storages))
    storages[key] = np.ascontiguousarray(content).reshape(-1).view(np.uint8).data  # no copy: models are large
    strides = tuple(math.prod(content.shape[axis + 1 :]) for axis in range(content.ndim))
    return view(Storage(STORAGES[content.dtype.name], key, content.size), 0, content.shape, strides)


class Entry(NamedTuple):
    """An entry of an archive, and what its directory says of it where that is not true."""

    name: str
    content: bytes | memoryview
    method: int = 0
    flags: int = 0x808  # names in UTF-8; sizes follow the content
    size: int | None = None
    packed: int | None = None
    at: int | None = None
    crc: int | None = None


def entries(
    pickled: bytes, storages: Mapping[str, bytes | memoryview], byteorder: bytes | None = b"little"
) -> list[Entry]:
    """The entries of a file, as torch names them."""
    found = [Entry("archive/data.pkl", pickled)]
    if byteorder is not None:
        found.append(Entry("archive/byteorder", byteorder))
    found += [Entry(f"archive/data/{key}", content) for key, content in storages.items()]
    return [*found, Entry("archive/version", b"3\n")]


def archive(listed: list[Entry], **options: Any) -> bytes:
    """The archive of these entries; `options` are those of `write_archive`."""
    file = io.BytesIO()
    write_archive(file, listed, **options)
    return file.getvalue()


def write_archive(
    file: BinaryIO,
    listed: list[Entry],
    zip64: bool = False,
    end_64: bool = True,
    comment: bytes = b"",
    count: int | None = None,
) -> None:
    """Writes the archive of these entries.

    Args:
        file: an empty file.
        listed: the entries.
        zip64: sizes and places as 64-bit numbers, as in a file of more than 4 GiB.
        end_64: the end of the directory in the 64-bit form too, as torch always writes it.
        comment: what stands at the end.
        count: how many entries the directory says it has; default: as many as there are.
    """
    directory = bytearray()
    for entry in listed:
        name, at = entry.name.encode(), file.tell()
        crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
        padding = -(at + 30 + len(name) + 4) % ALIGNMENT
        local = struct.pack("<4s5H3L2H", b"PK\3\4", 0, entry.flags, entry.method, 0, 0, 0, 0, 0, len(name), padding + 4)
        file.write(local + name + PADDING + struct.pack("<H", padding) + b"Z" * padding)
        file.write(entry.content)
        file.write(struct.pack("<4s3L", b"PK\7\x08", crc, len(entry.content), len(entry.content)))
        size = len(entry.content) if entry.size is None else entry.size
        numbers = (size, size if entry.packed is None else entry.packed, at if entry.at is None else entry.at)
        extra = struct.pack("<2H3Q", 1, 24, *numbers) if zip64 else b""
        size, packed, at = (2**32 - 1,) * 3 if zip64 else numbers
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 0, 0, entry.flags, entry.method, 0, 0, crc, packed, size, len(name), len(extra),
            0, 0, 0, 0, at,
        )  # fmt: skip
        directory += name + extra
    start, count = file.tell(), len(listed) if count is None else count
    file.write(directory)
    if end_64:
        numbers = (count, count, len(directory), start)
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 0, 0, 0, 0, *numbers)
        file.write(record + struct.pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1))
    few, place = (min(count, 2**16 - 1), min(start, 2**32 - 1))
    file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, few, few, len(directory), place, len(comment)) + comment)


def save(content: Any, protocol: int = 2, **options: Any) -> bytes:
    """What torch.save writes of this content, with arrays for tensors; `options` are those of `write_archive`."""
    storages: dict[str, bytes | memoryview] = {}
    pickled = program(with_tensors(content, storages), protocol)
    return archive(entries(pickled, storages), **options)


def save_to(path: Path, content: Any) -> None:
    """The same as a file; nothing is held in memory twice."""
    storages: dict[str, bytes | memoryview] = {}
    pickled = program(with_tensors(content, storages))
    with path.open("wb") as file:
        write_archive(file, entries(pickled, storages))
