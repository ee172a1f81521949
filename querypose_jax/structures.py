"""What walks through the house: a `Batch` goes in, `Poses` come out.

Shape legend, the same letters in every file:

    B H W C   pictures, height, width, channels
    N         queries (proposals) of a picture
    K         keypoints (joints) of a person
    M         body parts
    G         people slots of a picture (real people first, then padding)
    S         stages of the cascade
    D R       shards (devices) and packed rows of a shard, see `models/querypose/packing.py`

Coordinates are in *network pixels* (the picture after resizing, top left at the origin) inside the network
and in *original pixels* (the picture in its file) outside of it. They change frame in two places only: in the input
pipeline on the way in, in a model's `decode` on the way out.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int, UInt8
from numpy import ndarray

FILLER_ID = -1  # image_id of a filler picture that completes a batch; its results are dropped

AnyArray = Array | ndarray


class PeopleBudget(NamedTuple):
    """At most `people` people on each of `shards` equal parts of a training batch: static, known before it is
    compiled. A family whose cost grows with people makes its arrays no longer than that."""

    shards: int
    people: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Whole:
    """The batch that a micro-batch is a part of (train.accumulate): what its losses are divided by."""

    people: Int[AnyArray, ""]
    pictures: int = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """One batch of pictures and, for training, the people on them. Numpy on the host, arrays on the device."""

    image: UInt8[AnyArray, "B H W 3"]
    """RGB, the picture at the top left of the canvas; the rest of the canvas holds zeros."""
    valid_size: Int[AnyArray, "B 2"]
    """h, w of the picture on the canvas (network pixels)."""
    orig_size: Int[AnyArray, "B 2"]
    """h, w of the picture in its file (original pixels)."""
    image_id: Int[AnyArray, " B"]
    """Id in the annotation file, or FILLER_ID."""
    inv_affine: Float[AnyArray, "B 2 3"]
    """Maps network pixels to original pixels: [x, y, 1] -> [x', y']."""
    boxes: Float[AnyArray, "B G 4"]
    """xyxy, network pixels, zero on padding."""
    keypoints: Float[AnyArray, "B G K 3"]
    """x, y (network pixels, continuous), visibility 0, 1 or 2; all zero where unlabelled."""
    area: Float[AnyArray, "B G"]
    """Segment area of the annotation, network pixels squared."""
    label: Int[AnyArray, "B G"]
    """Class index from 0."""
    is_person: Bool[AnyArray, "B G"]
    """True for real rows, False for padding; real rows come first."""
    loss_mask: Bool[AnyArray, "B _ _"] | None = None
    """Cells at stride 4 where losses count; None: all."""
    person_scale: Float[AnyArray, "B G"] | None = None
    """Square root of width x height of the annotated box, network pixels; None where the family does not need it."""
    budget: PeopleBudget | None = field(default=None, metadata={"static": True})
    """None: every slot of every picture may hold somebody."""
    whole: Whole | None = None
    """Of a micro-batch, the batch it is a part of; None: this is all of it."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Poses:
    """The people found on one picture, or on B pictures with a leading B. Original pixels."""

    scores: Float[AnyArray, "*B N"]
    labels: Int[AnyArray, "*B N"]
    valid: Bool[AnyArray, "*B N"]
    """False for entries that are never reported (empty box after clipping, padding)."""
    boxes: Float[AnyArray, "*B N 4"]
    """xyxy, clipped to the picture."""
    keypoints: Float[AnyArray, "*B N K 2"]
    """x, y, continuous pixel coordinates; they may lie outside the picture."""
    keypoint_scores: Float[AnyArray, "*B N K"]
    spread: Float[AnyArray, "*B N K 2"] | None = None
    """Predicted scale of the error of x and y; None where a model does not tell."""
    notes: dict[str, Float[AnyArray, "*B"]] | None = None
    """What a model tells about its work on each picture, by name, such as how many queries it looked at."""
