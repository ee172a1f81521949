"""What a compiled program needs, read from the program: memory of a chip, operations, bytes, messages between chips."""

import re
from collections import Counter
from dataclasses import dataclass

import jax
import numpy as np

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# %name = SHAPE all-gather(... or all-gather-start(...
_COLLECTIVE = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.+?) ({'|'.join(KINDS)})(-start)?\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_RECOMPUTED = re.compile(r"^\s*(?:ROOT )?%?[\w.-]*\.remat\S* = ", re.MULTILINE)
# The compiler says one or the other; arguments are part of both.
_NO_ROOM = (
    re.compile(r"memory required [^(]*\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)"),
    re.compile(r"Ran out of memory in memory space hbm\. Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm"),
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_BITS = {"pred": 8, "bf16": 16, "f8e4m3fn": 8, "f8e5m2": 8}  # the others carry their bits in their name


@dataclass(frozen=True)
class Program:
    """One compiled program, per chip."""

    arguments: int
    """Bytes that come in: parameters, optimizer state, batch."""
    temporaries: int
    """Bytes of intermediate results, new arrays that come out and the code."""
    flops: float
    bytes_accessed: float
    collectives: dict[str, int]
    """Bytes by kind; an array counts once, with its whole size before a reduce-scatter or after an all-gather."""
    recomputed: int
    """Results that the compiler computes a second time, for want of room to keep them."""

    @property
    def memory(self) -> int:
        """Bytes that the chip must have."""
        return self.arguments + self.temporaries


@dataclass(frozen=True)
class TooLarge:
    """A program that does not fit its chip, whatever the compiler tried."""

    memory: int
    """Bytes that it takes at least."""
    available: int
    """Bytes that there are."""


def describe(compiled: jax.stages.Compiled) -> Program:
    """Reads off what the compiler says about a program for one chip."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    text = compiled.as_text()
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Program(
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes + new + memory.generated_code_size_in_bytes,
        flops=cost["flops"],
        bytes_accessed=cost["bytes accessed"],
        collectives=collective_bytes(text),
        recomputed=recomputed_results(text),
    )


def describe_refusal(error: jax.errors.JaxRuntimeError) -> TooLarge | None:
    """What the TPU compiler says where a program does not fit; None for any other error."""
    found = next(filter(None, (pattern.search(str(error)) for pattern in _NO_ROOM)), None)
    if found is None:
        return None
    needed, needed_unit, there, there_unit = found.groups()
    return TooLarge(int(float(needed) * _UNITS[needed_unit]), int(float(there) * _UNITS[there_unit]))


def recomputed_results(program: str) -> int:
    """Instructions that the compiler has copied to later places to save memory; it calls them NAME.remat."""
    return len(_RECOMPUTED.findall(program))


def collective_bytes(program: str) -> dict[str, int]:
    """Bytes by kind of the collectives in the text of a program; those in a loop count once.

    The TPU compiler writes a reduce-scatter as a computation called all-reduce-scatter around an all-reduce, and one
    collective that it overlaps with others several times, with the same channel and shape.
    """
    found: Counter[str] = Counter()
    seen = set()
    inside = ""
    for line in program.splitlines():
        if header := _COMPUTATION.match(line):
            inside = header[1]
        if not (match := _COLLECTIVE.match(line)):
            continue
        shape, kind, start = match.groups()
        kind = "reduce-scatter" if inside.startswith("all-reduce-scatter") else kind
        channel = _CHANNEL.search(line)
        key = (kind, channel[1] if channel else line, re.sub(r"\{.*?\}", "", shape))
        if key in seen:
            continue
        seen.add(key)
        arrays = [array_bytes(*array) for array in _ARRAY.findall(shape)]
        if start and kind in ("all-gather", "collective-permute"):
            arrays = (
                arrays[len(arrays) // 2 :] if kind == "all-gather" else arrays[1:2]
            )  # (what goes in, what comes out)
        size = sum(arrays)
        found[kind] += size * group_size(line) if kind == "reduce-scatter" and " reduce-scatter" in line else size
    return dict(found)


def array_bytes(dtype: str, dimensions: str) -> int:
    """Bytes of e.g. ("f32", "8,128")."""
    bits = _BITS.get(dtype) or int(re.sub(r"\D", "", dtype) or 8)
    return int(np.prod([int(size) for size in dimensions.split(",") if size], dtype=np.int64)) * bits // 8


def group_size(line: str) -> int:
    """Chips that a collective joins, from its replica groups; 1 where none are written."""
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(match[1])
    match = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    return len(match[1].split(",")) if match else 1
