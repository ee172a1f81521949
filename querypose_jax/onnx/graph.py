"""An ONNX graph under construction: values, nodes, and arrays that lie once in a file beside the programs.

Needs the package onnx. Opset 18 and its IR version: what onnxruntime reads since 1.14, and every newer one.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto, helper

OPSET, IR_VERSION = 18, 8
INSIDE = 1024  # bytes up to which an array lies in the program itself
ALIGNMENT = 64  # bytes
SPREAD = 1 << 16  # numbers up to which a constant that broadcasts is written out

Inputs = Sequence["Value | str"]


@dataclass(eq=False)
class Value:
    """An array of the program: a constant, or the name of a tensor. Either may broadcast to `shape` until somebody
    needs all of it: ONNX broadcasts by itself, and what is written out takes memory and time."""

    shape: tuple[int, ...]
    dtype: np.dtype
    constant: np.ndarray | None = None
    """Broadcasts to `shape`; None: computed when the program runs."""
    name: str = ""
    """Of a tensor of `narrow`; "" for constants and what is not computed yet."""
    narrow: tuple[int, ...] = ()
    """Shape of the constant or tensor."""
    pending: Any = None
    """A convolution that may take up what follows it (`products.Convolution`)."""

    @property
    def is_constant(self) -> bool:
        return self.constant is not None

    @property
    def full(self) -> np.ndarray:
        """The constant in its whole shape."""
        return np.broadcast_to(self.constant, self.shape)


Converter = Callable[["Graph", Any, list[Value]], Value | list[Value]]
"""(graph, jax's operation, its operands) -> its results."""


def constant(array: Any, shape: tuple[int, ...] | None = None) -> Value:
    """A constant that broadcasts to `shape`; None: as it is."""
    array = np.asarray(array)
    return Value(array.shape if shape is None else shape, array.dtype, array, narrow=array.shape)


@dataclass
class Weights:
    """Arrays in one file, each once, whichever programs use it. A file that is there is replaced."""

    path: Path
    places: dict[tuple, tuple[int, int]] = field(default_factory=dict)
    """Type, shape and checksum -> offset, length."""
    end: int = 0

    def __post_init__(self) -> None:
        self.path.unlink(missing_ok=True)

    def place(self, array: np.ndarray) -> tuple[int, int]:
        """Where in the file the array lies; appended where it is new."""
        content = np.ascontiguousarray(array).tobytes()
        key = (array.dtype.str, array.shape, hashlib.sha256(content).digest())
        if key not in self.places:
            with self.path.open("ab") as file:
                file.write(bytes(-self.end % ALIGNMENT) + content)
            start = self.end + -self.end % ALIGNMENT
            self.places[key], self.end = (start, len(content)), start + len(content)
        return self.places[key]


class Graph:
    """Collects nodes. Subgraphs (`nested`) may use every tensor of the graphs around them, never the reverse."""

    def __init__(self, weights: Weights, location: str):
        """
        Args:
            weights: where large arrays go.
            location: name of that file, as programs beside it call it.
        """
        self.nodes: list[NodeProto] = []
        self._weights, self._location = weights, location
        self._arrays: dict[tuple, str] = {}
        self._initializers: list[TensorProto] = []
        self._count = itertools.count()

    def new_name(self, kind: str) -> str:
        """A name that no other tensor has."""
        return f"{kind.lower()}_{next(self._count)}"

    def node(self, kind: str, inputs: Inputs, shape: Sequence[int], dtype: Any, **attributes: Any) -> Value:
        """Adds a node with one output of this shape.

        Args:
            kind: ONNX's operator.
            inputs: values, taken in their whole shape, or names of tensors.
            shape, dtype: of the output.
            attributes: of the operator.
        """
        return self.nodes_out(kind, inputs, [(tuple(shape), dtype)], **attributes)[0]

    def nodes_out(self, kind: str, inputs: Inputs, outputs: Sequence[tuple], **attributes: Any) -> list[Value]:
        """Adds a node with several outputs, each (shape, dtype)."""
        names = [self.tensor(x) if isinstance(x, Value) else x for x in inputs]
        out = [self.new_name(kind) for _ in outputs]
        self.nodes.append(helper.make_node(kind, names, out, name=out[0], **attributes))
        return [
            Value(tuple(shape), np.dtype(dtype), name=name, narrow=tuple(shape))
            for name, (shape, dtype) in zip(out, outputs, strict=True)
        ]

    def tensor(self, value: Value) -> str:
        """The name of a tensor that holds the whole value."""
        if value.is_constant and math.prod(value.shape) <= SPREAD:
            return self.array(value.full)
        name = self.narrow(value)
        if value.narrow == value.shape:
            return name
        return self.node("Expand", [name, self.array(np.array(value.shape, np.int64))], value.shape, value.dtype).name

    def narrow(self, value: Value) -> str:
        """The name of a tensor that broadcasts to the value."""
        if value.is_constant:
            return self.array(value.constant)
        if not value.name:
            value.name = value.pending.emit(self).name
        return value.name

    def array(self, array: np.ndarray) -> str:
        """The name of a constant tensor; equal ones are one."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest())
        if key not in self._arrays:
            self._arrays[key] = self.new_name("constant")
            self._initializers.append(self._initializer(self._arrays[key], array))
        return self._arrays[key]

    def _initializer(self, name: str, array: np.ndarray) -> TensorProto:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        if array.nbytes <= INSIDE:
            return helper.make_tensor(name, kind, array.shape, np.ascontiguousarray(array).tobytes(), raw=True)
        offset, length = self._weights.place(array)
        said = {"location": self._location, "offset": str(offset), "length": str(length)}
        entries = [StringStringEntryProto(key=key, value=text) for key, text in said.items()]
        return TensorProto(
            name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL, external_data=entries
        )

    @contextmanager
    def nested(self) -> Iterator[list[NodeProto]]:
        """Nodes that are added inside go to the list that this gives."""
        around, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = around

    def model(
        self, inputs: Mapping[str, Value], outputs: Mapping[str, Value], metadata: Mapping[str, str], meaning: str
    ) -> ModelProto:
        """The finished program.

        Args:
            inputs: name -> value of the same name.
            outputs: name -> value.
            metadata: texts that it carries.
            meaning: what it does, in words.
        """
        graph = self.body([typed(value) for value in inputs.values()], list(outputs.values()), self.nodes, outputs)
        used = _read_names(graph)
        graph.initializer.extend(x for x in self._initializers if x.name in used)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="querypose_jax")
        model.doc_string = meaning
        helper.set_model_props(model, dict(metadata))
        return model

    def body(
        self, inputs: Sequence[ValueInfoProto], outputs: Sequence[Value], nodes: list[NodeProto], names: Any = None
    ) -> GraphProto:
        """A graph of these nodes, which must be those that are being added to; nodes that nobody reads are left out."""
        named = list(names or [self.new_name("result") for _ in outputs])
        for name, value in zip(named, outputs, strict=True):
            nodes.append(helper.make_node("Identity", [self.tensor(value)], [name], name=name))
        infos = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in zip(named, outputs, strict=True)
        ]
        return helper.make_graph(_alive(nodes, set(named)), "poses", inputs, infos)


def typed(value: Value) -> ValueInfoProto:
    """How a graph declares an input."""
    return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _alive(nodes: Sequence[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes on which the wanted tensors depend."""
    alive = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            alive.append(node)
            wanted |= _read_by(node)
    return alive[::-1]


def _read_by(node: NodeProto) -> set[str]:
    """Tensors that a node reads, its subgraphs included."""
    inner = [_read_names(attribute.g) for attribute in node.attribute if attribute.HasField("g")]
    return set(node.input).union(*inner)


def _read_names(graph: GraphProto) -> set[str]:
    return set().union(*[_read_by(node) for node in graph.node])
