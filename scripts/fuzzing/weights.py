"""Damaged files of weights: pickles, safetensors, zip files of torch.save, and names and shapes that are recognised."""

import argparse
import json
import pickle
import random
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import safetensors.numpy

from querypose_jax.weights.formats import read_weights
from scripts.fuzzing.damage import NUMBERS, VALUES, damaged, damaged_tree
from tests.weights import torch_files as written

LIES = ("method", "flags", "size", "packed", "at", "crc")  # of a directory of an archive
STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.float32([1, -2])}


def pickles(rng: random.Random) -> bytes:
    content = {"model": rng.choice((STATE, OrderedDict(STATE))), "__author__": "somebody", "iteration": np.float64(3)}
    return damaged(pickle.dumps(content, rng.randrange(6)), rng)


def safe_tensors(rng: random.Random) -> bytes:
    """Half of the damage goes into the header, whose length is right again then."""
    whole = safetensors.numpy.save(STATE)
    if rng.random() < 0.5:
        return damaged(whole, rng)
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    for _ in range(rng.randint(1, 3)):
        header = damaged_tree(header, rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + whole[8 + length :]


def torch_files(rng: random.Random) -> bytes:
    """Files of torch.save: bytes damaged, one member damaged (its checksum right again), or lies of every kind."""
    content = {"model": STATE, "optimizer": [np.zeros(3, np.float64)], "args": argparse.Namespace(lr=0.1), "epoch": 3}
    storages: dict[str, bytes | memoryview] = {}
    tree = written.with_tensors(content, storages)
    kind = rng.randrange(4)
    if kind == 0:
        tree["model"] = {name: lying_tensor(tensor, rng) for name, tensor in tree["model"].items()}
    listed = written.entries(written.program(tree, rng.randrange(2, 6)), storages)
    at = rng.randrange(len(listed))
    if kind == 1:
        listed[at] = lying_entry(listed[at], listed, rng)
    elif kind == 2:
        listed[at] = listed[at]._replace(content=damaged(bytes(listed[at].content), rng))
    whole = written.archive(listed, zip64=rng.random() < 0.3, end_64=rng.random() < 0.7)
    return damaged(whole, rng) if kind == 3 else whole


def lying_tensor(tensor: written.Call, rng: random.Random) -> written.Call:
    """A tensor of which the file says something else in one or two places."""
    storage, offset, shape, strides, *rest = tensor.arguments
    said = {"offset": offset, "shape": shape, "strides": strides, "key": storage.key, "count": storage.count}
    for _ in range(rng.randint(1, 2)):
        numbers = [rng.choice((*NUMBERS, -1, 2, 2, 3, 3)) for _ in range(rng.choice((0, 1, 2, 2, 2, 40)))]
        lies = {
            "offset": rng.choice((*NUMBERS, -1, 2, 6)),
            "shape": tuple(numbers),
            "strides": tuple(rng.choice((0, 1, 2, number)) for number in numbers),
            "key": rng.choice(("0", "1", "2", "9", "../version", "")),
            "count": rng.choice((*NUMBERS, -1, 2, 6)),
        }
        name = rng.choice(sorted(said))
        said[name] = lies[name] if rng.random() < 0.8 else rng.choice(VALUES)
    kind = storage.kind if rng.random() < 0.8 else rng.choice(sorted(written.STORAGES.values()))
    storage = written.Storage(kind, said["key"], said["count"])
    return tensor._replace(arguments=(storage, said["offset"], said["shape"], said["strides"], *rest))


def lying_entry(entry: written.Entry, others: list[written.Entry], rng: random.Random) -> written.Entry:
    """An entry of which the directory says something else in one or two places."""
    for _ in range(rng.randint(1, 2)):
        number = rng.choice((rng.choice(NUMBERS) % 2**32, rng.randrange(3000)))
        name = rng.choice((rng.choice(others).name, "../x", "/x", "a/data.pkl", "x" * 600, "a\x1b[2J", ""))
        lie = rng.choice(({"name": name}, {"size": number, "packed": number}, *({key: number} for key in LIES)))
        entry = entry._replace(**lie)
    return entry._replace(method=entry.method % 2**16, flags=entry.flags % 2**16)


def read_weights_file(path: Path, rng: random.Random) -> None:
    for x in read_weights(path).tensors.values():
        x.tobytes()  # every number: what is mapped is read only then
