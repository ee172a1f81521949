"""Feeds damaged input to everything that reads what others made: each must be used or refused with one clean line.

    python scripts/fuzz.py [--inputs=100000] [--seed=0] [--readers=pth,yolo,...]

    pkl, safetensors, pth        files of weights; every number of an accepted one is read
    recognition                  names and shapes of state dicts: what they are, and whether they fit
    annotations, segmentations   files in COCO form, also checked and planned into batches; outlines, decoded again
    yolo, labels                 data.yaml and label files of folders in YOLO's form, likewise
    http, streams                what a server answers to who asks for a picture, or for a film (also by RTSP)
    page                         requests to the served page, which must be answered

Anything else counts as failed: another error than UserError, a message of several lines, ten seconds of the processor
without an end, 64 MiB more memory than before. Input number i of a reader depends on the seed, the reader and i alone.
Prints tried / refused / accepted / failed and the first failures; exit code 1 if there is one.
"""

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from querypose_jax.errors import UserError  # noqa: E402
from scripts.fuzzing import annotations, answers, page, recognition, streams, weights, yolo  # noqa: E402

LIMIT_S = 10  # of the processor, for one input: on a busy machine others may take minutes
LIMIT_KIB = 64 * 1024  # by which one input may raise the peak of memory
WARM_UP = 200  # inputs before memory counts
SHOWN = 5  # failures that are printed


class TooSlow(BaseException):
    """Passes by every `except Exception`."""


class Reader(NamedTuple):
    """What makes inputs, and what takes them."""

    make: Callable[[random.Random], Any]
    use: Callable[[Any, Path, random.Random], None]
    """(input, folder of its own, draws); UserError: refused."""


def of_file(make: Callable[[random.Random], bytes], suffix: str, use: Callable[[Path, random.Random], None]) -> Reader:
    """A reader of one file."""

    def write_and_use(content: bytes, folder: Path, rng: random.Random) -> None:
        path = folder / f"input.{suffix}"
        path.write_bytes(content)
        use(path, rng)

    return Reader(make, write_and_use)


READERS = {
    "pkl": of_file(weights.pickles, "pkl", weights.read_weights_file),
    "safetensors": of_file(weights.safe_tensors, "safetensors", weights.read_weights_file),
    "pth": of_file(weights.torch_files, "pth", weights.read_weights_file),
    "recognition": Reader(recognition.states, recognition.use_state),
    "annotations": of_file(annotations.annotation_files, "json", annotations.use_annotations),
    "segmentations": of_file(annotations.segmentation_files, "json", annotations.use_segmentation),
    "yolo": Reader(yolo.yolo_files, yolo.use_yolo),
    "labels": Reader(yolo.label_files, yolo.use_labels),
    "http": Reader(answers.questions, answers.use_answer),
    "streams": Reader(streams.sources, streams.use_source),
    "page": Reader(page.requests, page.use_request),
}


def outcome(reader: Reader, made: Any, folder: Path, rng: random.Random) -> str:
    """accepted, refused, or what went wrong."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        reader.use(made, folder, rng)
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


def fuzz(name: str, first: int, inputs: int, seed: int, folder: Path) -> int:
    """Tries one reader; prints what came of it; returns the number of failures."""
    counts = {"refused": 0, "accepted": 0, "failed": 0}
    start, highest = time.monotonic(), peak()
    for number in range(first, first + inputs):
        rng = random.Random(f"{seed} {name} {number}")
        came = outcome(READERS[name], READERS[name].make(rng), folder, rng)
        before, highest = highest, max(highest, peak())
        if number >= first + WARM_UP and highest - before > LIMIT_KIB:
            came = f"{(highest - before) / 1024:.0f} MiB more memory"
        kind = came if came in counts else "failed"
        counts[kind] += 1
        if kind == "failed" and counts["failed"] <= SHOWN:
            print(f"{name} {number}: {came}", flush=True)
    seconds = time.monotonic() - start
    print(f"{name}: {inputs} tried, " + ", ".join(f"{n} {kind}" for kind, n in counts.items()) +
          f"; {seconds:.0f} s, at most {highest / 1024:.0f} MiB", flush=True)  # fmt: skip
    return counts["failed"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each reader")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
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
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            failed += fuzz(name, options.first, options.inputs, options.seed, Path(folder))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
