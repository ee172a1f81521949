"""Pickles of weights, read without running anything that is in them.

A pickle is a program that may call whatever Python can import. Here it finds the names in KNOWN and no more, and even
those are stand-ins: shapes, types and bytes are put together and checked by this file, never by numpy's own unpickling,
which believes what it is told about memory. A few bytes can also build tuples that hold each other a million times
over: nothing here hashes, prints or copies what a file has nested, and what stand-ins are given is counted.
"""

import io
import math
import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

TYPES = frozenset(f"{kind}{size}" for kind, sizes in (("f", "248"), ("i", "1248"), ("u", "1248")) for size in sizes)
TYPES |= {"b1"}
COPIES = 4  # how often the length of a pickle its stand-ins may be given; honest ones are given each byte once or twice
KEYS = (str, bytes, int, float, type(None))  # what dicts may have for keys


class Refused(Exception):
    """The pickle asks for something that weights do not need; the message is the name of it."""


def read_pickle(content: bytes) -> Any:
    """The content of a pickle of dicts, lists, tuples, strings, numbers and numpy arrays, also one of Python 2.

    Raises:
        Refused: it names anything else, a function to call for example.
        Exception: of many kinds, when it is damaged.
    """
    return finished(WeightsUnpickler(content).load())


class Dtype:
    """Stands for numpy.dtype: the type as a string such as f4, and its byte order."""

    def __init__(self, name: str, *align_and_copy: bool):
        if not isinstance(name, str) or name not in TYPES:
            raise Refused(f"numpy type {name!r:.40}" if isinstance(name, str) else "a numpy type without a name")
        self.name = name
        self.order = "<"

    def __setstate__(self, state: tuple) -> None:
        if not isinstance(state[1], str) or state[1] not in ("<", ">", "|"):
            raise ValueError("no byte order")
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
    if not isinstance(content, bytes | bytearray) or not isinstance(dtype, Dtype):
        raise ValueError("array without bytes or type")
    if (
        not isinstance(shape, tuple)
        or len(shape) > 32
        or not all(type(side) is int and 0 <= side < 2**48 for side in shape)
    ):
        raise ValueError("array of no possible shape")
    made = dtype.numpy()
    if len(content) != math.prod(shape) * made.itemsize:
        raise ValueError(f"{len(content)} bytes for an array of shape {shape}")
    return np.frombuffer(content, made).reshape(shape, order=order)


def scalar(dtype: Dtype, content: bytes | str) -> np.ndarray:
    """Stands for numpy's scalars: an array of shape ()."""
    return array(content, dtype, ())


def from_buffer(content: bytes, dtype: Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Stands for the way numpy writes arrays in protocol 5."""
    return array(content, dtype, shape, order)


def encode(text: str, encoding: str) -> bytes:
    """Stands for the way Python 3 writes bytes in protocol 2."""
    if not isinstance(encoding, str) or encoding != "latin1" or not isinstance(text, str):
        raise Refused("another encoding than latin1")
    return text.encode("latin1")


def ordered_dict(pairs: list | tuple = ()) -> dict:
    """Stands for collections.OrderedDict; Python 2 wrote its items as one list of pairs."""
    made = {}
    for key, value in pairs:
        made[plain_key(key)] = value
    return made


def counter(counts: dict) -> dict:
    """Stands for collections.Counter, in which PyTorch's schedules keep their milestones."""
    if not isinstance(counts, dict):
        raise ValueError("counter without counts")
    return counts


class Namespace:
    """Stands for argparse.Namespace, the options of a training; what they were is passed over."""


def plain_key(key: Any) -> Any:
    """The key; raises Refused for anything nested, whose hash could take for ever."""
    if not isinstance(key, KEYS):
        raise Refused(f"a dict with keys of type {type(key).__name__}")
    return key


KNOWN = {
    ("collections", "OrderedDict"): ordered_dict,
    ("collections", "Counter"): counter,
    ("argparse", "Namespace"): Namespace,
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
    """Finds what is in `known`."""

    known: ClassVar[dict[tuple[str, str], Any]] = KNOWN
    read: Callable[[int], bytes]  # these two are set while it loads
    append: Callable[[Any], None]
    pop_mark: Callable[[], list]
    stack: list
    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, content: bytes):
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.left = COPIES * len(content) + 1000

    def count(self, arguments: Any) -> None:
        """Counts what a stand-in is given: one long text, named again and again, would be copied until memory ends."""
        if not isinstance(arguments, tuple):
            raise ValueError("arguments that are no tuple")
        self.left -= sum(len(x) for x in arguments if isinstance(x, str | bytes | bytearray | list | tuple | dict))
        if self.left < 0:
            raise ValueError("the same content is copied over and over")

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.count(arguments)
        self.stack[-1] = self.stack[-1](*arguments)

    def load_bytearray(self) -> None:
        """Takes what is there; the library's own first reserves as much memory as the file says."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(ordered_dict(list(zip(items[::2], items[1::2], strict=True))))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][plain_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][plain_key(key)] = value

    def load_build(self) -> None:
        """Fills stand-ins. Attributes of dicts and options are passed over; nothing else has a state to set."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Array | Dtype):
            self.count(state)
            self.stack[-1].__setstate__(state)
        elif not isinstance(self.stack[-1], dict | Namespace):
            raise Refused("the state of another object")

    def load_set(self) -> None:
        raise Refused("a set")

    def load_old_instance(self) -> None:
        raise Refused("an instance of a class of Python 2")

    dispatch |= {
        pickle.REDUCE[0]: load_reduce,
        pickle.INST[0]: load_old_instance,
        pickle.OBJ[0]: load_old_instance,
        pickle.BYTEARRAY8[0]: load_bytearray,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.BUILD[0]: load_build,
        pickle.EMPTY_SET[0]: load_set,
        pickle.ADDITEMS[0]: load_set,
        pickle.FROZENSET[0]: load_set,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise Refused(f"{module}.{name}")
        return self.known[module, name]


def finished(value: Any, done: dict[int, Any] | None = None) -> Any:
    """The same content with arrays in place of their stand-ins, and plain lists for tuples.

    What occurs several times in the content is one object in the result too: copies of copies would fill the memory.
    """
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, Array):
        if value.value is None:
            raise ValueError("array without content")
        return value.value
    made = value
    if isinstance(value, dict):
        made = {key: finished(item, done) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        made = [finished(item, done) for item in value]
    done[id(value)] = made
    return made
