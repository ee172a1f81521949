"""Feeds damaged files to the readers of weights and annotations: each must be read or refused with one clean line.

    python scripts/fuzz.py [--inputs=100000] [--seed=0] [--readers=pkl,safetensors,pth,annotations,segmentations]

Anything else counts as failed: another error than UserError, a message of several lines, ten seconds of the processor
without an end, 64 MiB more memory than before. What an annotation file is accepted as must also be checked and planned
into batches. Input number i of a reader depends on the seed, the reader and i alone. Prints tried / refused / accepted
/ failed and the first failures; exit code 1 if there is one.
"""

import argparse
import functools
import json
import math
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from pycocotools import mask as rle

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from configs import synthetic_tiny  # noqa: E402
from input_pipeline import people  # noqa: E402
from input_pipeline.annotations import ground_truth  # noqa: E402
from input_pipeline.batching import plan_block  # noqa: E402
from input_pipeline.findings import find_in_annotations  # noqa: E402
from input_pipeline.segments import NONE, decode_segment, encode_segment  # noqa: E402
from input_pipeline.split_files import SplitFiles, read_split  # noqa: E402
from input_pipeline.synthetic import index_of  # noqa: E402
from querypose_jax.errors import UserError  # noqa: E402
from querypose_jax.recipes.querypose import RECIPE  # noqa: E402
from querypose_jax.skeletons import COCO  # noqa: E402
from querypose_jax.weights.formats import read_weights  # noqa: E402
from tests.weights import torch_files as written  # noqa: E402

LIMIT_S = 10  # of the processor, for one input: on a busy machine others may take minutes
LIMIT_KIB = 64 * 1024  # by which one input may raise the peak of memory
WARM_UP = 200  # inputs before memory counts
LIES = ("method", "flags", "size", "packed", "at", "crc")  # of a directory of an archive
SUFFIXES = ("pkl", "safetensors", "pth")  # of readers that have one of their own; the others read JSON
SHOWN = 5  # failures that are printed
STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.float32([1, -2])}
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1)
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 1.5, 1e9, 1e308, -1e308, math.nan, math.inf, 2**31, 2**63, -(2**63), 10**400, "", "x" * 5000,
    "../../etc/passwd", "/etc/passwd", "a\x00b", "\ud800", [], {}, [[]], [None] * 51, [math.nan] * 4, {"counts": "x"},
)  # fmt: skip

Reader = Callable[[Path, random.Random], None]


class TooSlow(BaseException):
    """Passes by every `except Exception`."""


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


@functools.cache
def sound_annotations() -> dict:
    """What damage is done to copies of."""
    drawings = [people.draw_people(0, "train", i, 60, 80, 2) for i in range(3)]
    content = ground_truth(index_of(drawings), COCO)
    content["annotations"][0]["segmentation"] = [[1, 2, 3, 4, 5, 6]]
    return content


def annotation_files(rng: random.Random) -> bytes:
    content = sound_annotations()
    for _ in range(rng.randint(1, 4)):
        content = damaged_tree(content, rng)
    text = json.dumps(content).encode()
    if rng.random() < 0.02:
        text = text.replace(b"[", b"[" * 100_000, 1)
    return damaged(text, rng) if rng.random() < 0.3 else text


def segmentation_files(rng: random.Random) -> bytes:
    """A segmentation and the size of its picture."""
    height, width = rng.choice((*[(60, 80)] * 20, (1, 1), (3000, 4000)))
    return json.dumps({"size": (height, width), "segmentation": outline(height, width, rng)}).encode()


def outline(height: int, width: int, rng: random.Random) -> Any:
    """Polygons or a run-length code, as numbers or as text; sound ones, others, and ones with one value damaged."""
    if rng.random() < 0.05:
        return [[rng.choice((0, width, i)) for i in range(rng.choice((400, 40_000)))]]  # to and fro
    area = height * width
    numbers = [
        rng.choice((rng.uniform(-10, 100), *NUMBERS, 0, 1, 2)) for _ in range(rng.choice((0, 1, 4, 5, 6, 7, 400)))
    ]
    text = "".join(chr(rng.choice((rng.randrange(48, 112), rng.randrange(0x300)))) for _ in range(rng.randrange(30)))
    runs = [rng.randrange(area // 8 + 1) for _ in range(8)]
    code = rle.encode(np.asfortranarray(np.random.default_rng(runs[0]).random((60, 80)) < 0.5))["counts"].decode()
    counts = rng.choice(([area], [0, area], [*runs, area - sum(runs)], [round(x) for x in numbers], text, code))
    size = rng.choice(([height, width], [height, width], [width, height], [0, 0], [60], [2**31, 2**31], numbers))
    sound = rng.choice(([numbers], [numbers, [1, 2, 30, 4, 5, 60]], {"counts": counts, "size": size}))
    return sound if rng.random() < 0.5 else damaged_tree(sound, rng)


def read_weights_file(path: Path, rng: random.Random) -> None:
    for x in read_weights(path).tensors.values():
        x.tobytes()  # every number: what is mapped is read only then


def use_annotations(path: Path, rng: random.Random) -> None:
    """Reads a file and does with it what training, the check and an evaluation do."""
    split = rng.choice(("train", "val"))
    annotations = read_split(SplitFiles(split, (path,), path.parent, COCO))
    config = synthetic_tiny.get_config()
    is_target = RECIPE.is_target(annotations, config.data)
    find_in_annotations(annotations, is_target, max_people=2)
    json.dumps(ground_truth(annotations, COCO), allow_nan=False)
    if is_target.any():
        config.data.update(batch_size=2, block_batches=2, canvases=((2048, 2048),))
        plan_block(annotations, config, 1, 0)


def use_segmentation(path: Path, rng: random.Random) -> None:
    """Encodes it as records keep it, and decodes that: to what the library decodes it to."""
    content = json.loads(path.read_text())
    height, width = content["size"]
    code = encode_segment(content["segmentation"], height, width)
    if code == NONE:
        raise UserError("it is none")
    mask = decode_segment(code, height, width)
    expected = rle.decode({"size": [height, width], "counts": code})
    assert np.array_equal(mask, expected), "another mask"


READERS: dict[str, tuple[Callable[[random.Random], bytes], Reader]] = {
    "pkl": (pickles, read_weights_file),
    "safetensors": (safe_tensors, read_weights_file),
    "pth": (torch_files, read_weights_file),
    "annotations": (annotation_files, use_annotations),
    "segmentations": (segmentation_files, use_segmentation),
}


def outcome(reader: Reader, path: Path, rng: random.Random) -> str:
    """accepted, refused, or what went wrong."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        reader(path, rng)
        return "accepted"
    except UserError as error:
        text = str(error)
        return "refused" if "\n" not in text and len(text) < 1000 and text.isprintable() else f"message {text[:200]!r}"
    except TooSlow:
        return f"no end after {LIMIT_S} s"
    except Exception:
        return traceback.format_exc(limit=-3)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def peak() -> int:
    """KiB of memory this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fuzz(name: str, inputs: int, seed: int, folder: Path) -> int:
    """Tries one reader; prints what came of it; returns the number of failures."""
    make, reader = READERS[name]
    path = folder / f"input.{name if name in SUFFIXES else 'json'}"
    counts = {"refused": 0, "accepted": 0, "failed": 0}
    start, highest = time.monotonic(), peak()
    for number in range(inputs):
        rng = random.Random(f"{seed} {name} {number}")
        path.write_bytes(make(rng))
        came = outcome(reader, path, rng)
        before, highest = highest, max(highest, peak())
        if number >= WARM_UP and highest - before > LIMIT_KIB:
            came = f"{(highest - before) / 1024:.0f} MiB more memory"
        kind = came if came in counts else "failed"
        counts[kind] += 1
        if kind == "failed" and counts["failed"] <= SHOWN:
            print(f"{name} {number}: {came}")
    seconds = time.monotonic() - start
    print(f"{name}: {inputs} tried, " + ", ".join(f"{n} {kind}" for kind, n in counts.items()) +
          f"; {seconds:.0f} s, at most {highest / 1024:.0f} MiB", flush=True)  # fmt: skip
    return counts["failed"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default=",".join(READERS))
    options = parser.parse_args()
    names = options.readers.split(",")
    if unknown := set(names) - set(READERS):
        parser.error(f"no reader {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")

    def stop(*_: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGVTALRM, stop)
    warnings.simplefilter("error", RuntimeWarning)
    with tempfile.TemporaryDirectory() as folder:
        failed = sum(fuzz(name, options.inputs, options.seed, Path(folder)) for name in names)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
