"""What a training split does without: pictures and annotations that cannot be used, left out once and counted.

Splits that are scored leave nothing out: an AP over other pictures is another number. What is left out is decided while
a split is prepared and kept beside its records, so that the index, and with it every planned step, stays the same from
then on. A picture that is repaired later is taken in once the prepared folder is removed.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from querypose_jax.errors import UserError
from querypose_jax.files import write_json

TRAINING_SPLITS = ("train", "trainval")
LARGEST_SHARE = (
    0.05  # of the pictures or annotations of a split; beyond it something else is wrong, a folder for example
)
FILE = "skipped.json"

NO_NUMBERS = "annotation with numbers that are not finite"
UNREADABLE = "picture that cannot be read"
OTHER_SIZE = "picture of another size than the annotation file says"


class Skipped(NamedTuple):
    """One thing that is left out."""

    kind: str
    message: str


def may_skip(split: str) -> bool:
    """True for splits to train on."""
    return split in TRAINING_SPLITS


def is_too_much(count: int, total: int) -> bool:
    """True where more is unusable than training does without."""
    return count > LARGEST_SHARE * total


def refuse_too_much(skipped: Sequence[Skipped], total: int, things: str) -> None:
    """Raises UserError with the first message where more than LARGEST_SHARE of `total` things are left out."""
    if is_too_much(len(skipped), total):
        raise UserError(
            f"{skipped[0].message} ({len(skipped)} of {total} {things} looked at so far cannot be used, at most "
            f"{LARGEST_SHARE:.0%} are left out; input_pipeline.check lists them)"
        )


def counts(skipped: Sequence[Skipped]) -> dict[str, int]:
    """How many of each kind."""
    return dict(Counter(s.kind for s in skipped))


def as_text(skipped: Sequence[Skipped]) -> str:
    """`left out: KIND 3, KIND 1`, or nothing."""
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(counts(skipped).items()))
    return f"left out: {listed}" if listed else ""


def save_skipped(skipped: Sequence[Skipped], folder: Path) -> None:
    """Writes folder/skipped.json."""
    write_json(folder / FILE, [s._asdict() for s in skipped], indent=1)


def load_skipped(folder: Path) -> tuple[Skipped, ...]:
    """Reads what save_skipped wrote."""
    return tuple(Skipped(**entry) for entry in json.loads((folder / FILE).read_text(encoding="utf-8")))
