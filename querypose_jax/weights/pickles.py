"""detectron2's pickles, read without running anything that is in them.

A pickle is a program that may call whatever Python can import. Here it finds six names and no more, and even those are
stand-ins: shapes, types and bytes are put together and checked by this file, never by numpy's own unpickling, which
believes what it is told about memory.
"""

import io
import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

TYPES = frozenset(f"{kind}{size}" for kind, sizes in (("f", "248"), ("i", "1248"), ("u", "1248")) for size in sizes)
TYPES |= {"b1"}


class Refused(Exception):
    """The pickle asks for something that weights do not need; the message is the name of it."""


def read_pickle(content: bytes) -> Any:
    """The content of a pickle of dicts, lists, tuples, strings, numbers and numpy arrays, also one of Python 2.

    Raises:
        Refused: it names anything else, a function to call for example.
        Exception: of many kinds, when it is damaged.
    """
    return finished(WeightsUnpickler(io.BytesIO(content), encoding="latin1").load())


class Dtype:
    """Stands for numpy.dtype: the type as a string such as f4, and its byte order."""

    def __init__(self, name: str, *align_and_copy: bool):
        if name not in TYPES:
            raise Refused(f"numpy type {name!r}")
        self.name = name
        self.order = "<"

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|"):
            raise ValueError(f"byte order {state[1]!r}")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(self.name).newbyteorder(self.order)


class Array:
    """Stands for an array while it is read: created empty, filled by `__setstate__`."""

    def __init__(self, *subtype_and_placeholder: Any):
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, content = state
        self.value = array(content, dtype, shape, "F" if is_fortran else "C")


def array(content: bytes | str, dtype: Dtype, shape: tuple[int, ...], order: str = "C") -> np.ndarray:
    """The array of these bytes; raises ValueError where their number does not fit the shape."""
    if isinstance(content, str):  # Python 2 wrote bytes as text
        content = content.encode("latin1")
    if not isinstance(shape, tuple) or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"array of shape {shape!r}")
    made = dtype.numpy()
    if len(content) != math.prod(shape) * made.itemsize:
        raise ValueError(f"{len(content)} bytes for an array of shape {shape}")
    return np.frombuffer(content, made).reshape(shape, order=order)


def scalar(dtype: Dtype, content: bytes | str) -> np.ndarray:
    """Stands for numpy's scalars: an array of shape ()."""
    return array(content, dtype, ())


def from_buffer(content: bytes, dtype: Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Stands for the way numpy writes arrays in protocol 5."""
    return array(bytes(content), dtype, shape, order)


def encode(text: str, encoding: str) -> bytes:
    """Stands for the way Python 3 writes bytes in protocol 2."""
    if encoding != "latin1":
        raise Refused(f"encoding {encoding!r}")
    return text.encode("latin1")


KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): encode,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
}
for core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    KNOWN[core + ".multiarray", "_reconstruct"] = Array
    KNOWN[core + ".multiarray", "scalar"] = scalar
    KNOWN[core + ".numeric", "_frombuffer"] = from_buffer


# Python's own implementation rather than the one in C: there, a single damaged byte can ask for gigabytes of table.
class WeightsUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Finds what is in KNOWN."""

    read: Callable[[int], bytes]  # these two are set while it loads
    append: Callable[[Any], None]
    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def load_bytearray(self) -> None:
        """Takes what is there; the library's own first reserves as much memory as the file says."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise Refused(f"{module}.{name}")
        return KNOWN[module, name]


def finished(value: Any) -> Any:
    """The same content with arrays in place of their stand-ins, and plain dicts and lists."""
    if isinstance(value, Array):
        if value.value is None:
            raise ValueError("array without content")
        return value.value
    if isinstance(value, dict):
        return {key: finished(item) for key, item in dict.items(value)}
    if isinstance(value, list | tuple):
        return [finished(item) for item in value]
    return value
