"""Damage to bytes and to values of trees, by chance."""

import math
import random
import struct
from typing import Any

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1)
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 1.5, 1e9, 1e308, -1e308, math.nan, math.inf, 2**31, 2**63, -(2**63), 10**400, "", "x" * 5000,
    "../../etc/passwd", "/etc/passwd", "a\x00b", "\ud800", [], {}, [[]], [None] * 51, [math.nan] * 4, {"counts": "x"},
)  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A copy after one to six changes of bytes."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at, length = rng.randrange(len(changed) + 1), rng.choice((1, 2, 4, 8, 64))
        match rng.randrange(7):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 50))
            case 4:
                changed[at:at] = rng.randbytes(length)
            case 5:
                packing = rng.choice(("<I", "<Q", ">I", ">Q"))
                number = rng.choice(NUMBERS) & (2 ** (8 * struct.calcsize(packing)) - 1)
                changed[at : at + struct.calcsize(packing)] = struct.pack(packing, number)
            case _ if rng.random() < 0.3:
                del changed[at:]
    return bytes(changed)


def damaged_tree(tree: Any, rng: random.Random) -> Any:
    """The tree after a change of one value somewhere in it."""
    if isinstance(tree, dict | list) and tree and rng.random() < 0.85:
        key = rng.choice(sorted(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        copy = tree.copy()
        match rng.randrange(12):
            case 0:
                del copy[key]
            case 1 if isinstance(tree, list):
                copy.insert(key, tree[rng.randrange(len(tree))])
            case _:
                copy[key] = damaged_tree(tree[key], rng)
        return copy
    return rng.choice(VALUES)
