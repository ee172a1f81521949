"""Files of torch.save, read without torch: a pickle that names storages, and the bytes of each storage as they are.

What the pickle says is taken down (`Tensor`) and looked at when an array is asked for: an optimizer's state that nobody
asks for costs its names and nothing more. Arrays are views of the file, which is mapped and not read.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from querypose_jax.errors import UserError
from querypose_jax.weights.archives import Archive, open_archive
from querypose_jax.weights.pickles import KNOWN, WeightsUnpickler, finished

LONGEST_PICKLE = 2**24  # bytes: it names tensors, their numbers lie elsewhere
MAX_AXES = 32
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# What files began with before torch 1.6: a number of its own as a pickle, and earlier still a tar archive.
MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # 0x1950a86a20f9469cfc6c
TAR = b"ustar", 257


@dataclass(frozen=True)
class StorageType:
    """Stands for torch.FloatStorage and its like."""

    dtype: np.dtype


@dataclass(frozen=True)
class Storage:
    """A row of numbers that tensors are views of."""

    file: "TorchFile"
    key: str
    dtype: np.dtype
    count: int

    def content(self) -> memoryview:
        """Its bytes in the file; raises ValueError where there are more or less than it says, or none."""
        content = self.file.storage(self.key)
        if len(content) != self.count * self.dtype.itemsize:
            raise ValueError(f"storage {self.key!r:.20} has {len(content)} bytes for {self.count} numbers")
        return content


@dataclass(frozen=True)
class Tensor:
    """Stands for a tensor: what the file says of it, not yet believed."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any

    def array(self) -> np.ndarray:
        """The tensor as a view of the mapped file.

        Raises:
            ValueError: it is no part of its storage, or has more numbers than that.
        """
        storage, offset, shape, strides = self.storage, self.offset, self.shape, self.strides
        if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ValueError("a tensor without storage or shape")
        if len(shape) != len(strides) or len(shape) > MAX_AXES or not all(map(is_count, (offset, *shape, *strides))):
            raise ValueError("a tensor of no possible shape")
        if math.prod(shape) > storage.count:
            raise ValueError(f"a tensor of {math.prod(shape)} numbers in a storage of {storage.count}")
        if 0 in shape:
            return np.empty(shape, storage.dtype)
        last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
        if last >= storage.count:
            raise ValueError(f"a tensor that ends at number {last + 1} of a storage of {storage.count}")
        step = storage.dtype.itemsize
        return np.ndarray(shape, storage.dtype, storage.content(), offset * step, [step * x for x in strides])


def is_count(number: Any) -> bool:
    """Whether this is a whole number from 0 on, of a size that files have."""
    return type(number) is int and 0 <= number < 2**48


def tensor(storage: Any, offset: Any, shape: Any, strides: Any, *gradient_and_hooks: Any) -> Tensor:
    """Stands for torch._utils._rebuild_tensor_v2."""
    return Tensor(storage, offset, shape, strides)


def parameter(data: Any, *gradient_and_hooks: Any) -> Any:
    """Stands for torch._utils._rebuild_parameter."""
    return data


def size(sides: Any) -> Any:
    """Stands for torch.Size."""
    return sides


class TorchUnpickler(WeightsUnpickler):
    """Finds tensors too."""

    known: ClassVar = KNOWN | {
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("torch", "Size"): size,
        **{("torch", name): StorageType(np.dtype(dtype)) for name, dtype in DTYPES.items()},
    }

    def __init__(self, content: bytes, file: "TorchFile"):
        super().__init__(content)
        self.file = file

    def persistent_load(self, pid: Any) -> Storage:
        """The storage of ("storage", type, key, device, count)."""
        match pid:
            case ("storage", StorageType(dtype), str(key), _, count) if is_count(count):
                return Storage(self.file, key, dtype, count)
        raise ValueError("a storage without type, name or size")


class TorchFile:
    """The entries of one file, all in one folder; the checksum of each storage is looked at once."""

    def __init__(self, archive: Archive):
        folders = [name.removesuffix("data.pkl") for name in archive.entries if is_pickle(name)]
        if len(folders) != 1:
            raise ValueError(f"an archive with {len(folders)} entries FOLDER/data.pkl, not one")
        self.archive, self.folder = archive, folders[0]
        self.seen: dict[str, memoryview] = {}

    def pickle(self) -> bytes:
        content = self.archive.content(f"{self.folder}data.pkl")
        if len(content) > LONGEST_PICKLE:
            raise ValueError(f"data.pkl has {len(content)} bytes, more than {LONGEST_PICKLE}")
        return bytes(content)

    def is_big_endian(self) -> bool:
        name = f"{self.folder}byteorder"  # torch before 2.1 writes none
        return name in self.archive.entries and bytes(self.archive.content(name)[:7]) != b"little"

    def storage(self, key: str) -> memoryview:
        if key not in self.seen:
            name = f"{self.folder}data/{key}"
            if name not in self.archive.entries:
                raise ValueError(f"storage {key!r:.20} is missing")
            self.seen[key] = self.archive.content(name)
        return self.seen[key]


def is_pickle(name: str) -> bool:
    """Whether an entry is FOLDER/data.pkl."""
    return name.count("/") == 1 and name.endswith("/data.pkl")


def read_torch(path: Path) -> Any:
    """The content of a file of torch.save (1.6 or newer) with `Tensor` for tensors.

    Raises:
        UserError: it is in the format before that, or of a machine that orders bytes the other way.
        Refused: it asks for more than tensors, options and plain containers.
        Exception: of many kinds, when it is damaged.
    """
    if is_old(path):
        raise UserError(
            f"{path} is in the format of PyTorch before 1.6; where torch is installed, write it anew: "
            "torch.save(torch.load(OLD, map_location='cpu', weights_only=True), NEW)"
        )
    file = TorchFile(open_archive(path))
    if file.is_big_endian():
        raise UserError(f"{path} was written on a big-endian machine; load and save it with torch on another one")
    return finished(TorchUnpickler(file.pickle(), file).load())


def is_old(path: Path) -> bool:
    """Whether this is a file of torch.save as it was before 1.6."""
    with path.open("rb") as file:
        head = file.read(512)
    text, at = TAR
    return MAGIC in head[:32] or head[at : at + len(text)] == text
