"""What a recipe promises. A recipe says what happens to a picture and its people on the way into a network, the same in
training, evaluation and prediction: sizes, place on the canvas, coordinates and back, and who counts.

Everything that a sample undergoes is known before a pixel is read: a row of a geometry, from a row of uniform numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from querypose_jax.skeletons import Skeleton

MASK_STRIDE = 4  # pixels per cell of a loss mask
AREA_OF_BOX = 0.53  # segment area of a person relative to the box, where nobody drew a segment (CrowdPose)


class Facts(Protocol):
    """What a data set says about P pictures and O objects, before a recipe looks at it."""

    size: np.ndarray
    """int [P, 2], h, w."""
    bbox: np.ndarray
    """float64 [O, 4], x, y, w, h."""
    is_crowd: np.ndarray
    """bool [O]"""
    is_degenerate: np.ndarray
    """bool [O], polygons were drawn and none has three points (COCO)."""
    num_keypoints: np.ndarray
    """int [O], as in the file."""

    @property
    def picture_of_object(self) -> np.ndarray:
        """int [O]"""


def is_on_picture(facts: Facts) -> np.ndarray:
    """bool [O]: the box has an area on the picture."""
    limit = facts.size[facts.picture_of_object][:, ::-1]
    low, high = facts.bbox[:, :2], facts.bbox[:, :2] + facts.bbox[:, 2:]
    return (np.clip(high, 0, limit) > np.clip(low, 0, limit)).all(-1)


class People(NamedTuple):
    """T people in original pixels."""

    boxes: np.ndarray
    """float64 [T, 4], xyxy."""
    keypoints: np.ndarray
    """float64 [T, K, 3], pixel index and visibility, as in a COCO file."""
    area: np.ndarray
    """float64 [T], NaN where the file has none."""
    number: np.ndarray
    """int64 [T], no two people of a data set have the same: chance that is drawn for each person follows from it."""


class MovedPeople(NamedTuple):
    """The same people in network pixels."""

    boxes: np.ndarray
    """float32 [T, 4], clipped to the picture."""
    keypoints: np.ndarray
    """float32 [T, K, 3], in the recipe's coordinates."""
    area: np.ndarray
    """float32 [T]"""
    is_left: np.ndarray
    """bool [T], False where nothing is left of the box."""
    scale: np.ndarray | None = None
    """float32 [T], square root of width x height of the whole box; None where no family wants it."""


@dataclass(frozen=True)
class Recipe:
    """One recipe: functions of numpy and Pillow. A geometry is a NamedTuple with `original` and `final` [S, 2], h, w,
    and `at(samples)`; the picture of `final` size lies at the top left of its canvas, borders of the recipe's own
    included."""

    draws: int
    """Uniform numbers per sample."""
    canvas_step: int
    """Canvases of eval.canvas="exact" are multiples of it: the released protocol."""
    draw_geometry: Callable[[np.ndarray, np.ndarray, ConfigDict], Any]
    """(uniform [S, draws], h, w of pictures [S, 2], config.data) -> the random augmentation of S samples."""
    rest_geometry: Callable[[np.ndarray, ConfigDict], Any]
    """(h, w [S, 2], config.data) -> what evaluation and prediction do, without chance."""
    transform_picture: Callable[[Image.Image, Any], Image.Image]
    """(RGB picture, geometry of one sample) -> a picture of its final size."""
    move_people: Callable[[People, Any, Skeleton], MovedPeople]
    """(T people, geometry of each one's sample, skeleton)"""
    inverse_affine: Callable[[Any], np.ndarray]
    """geometry of S samples -> float32 [S, 2, 3], network to original pixels, in the recipe's coordinates."""
    is_target: Callable[[Facts, ConfigDict], np.ndarray]
    """bool [O]: who is trained on."""
    is_usable: Callable[[Facts, np.ndarray], np.ndarray]
    """(facts, is_target) -> bool [P]: pictures that training uses."""
    aim: Callable[[Any, np.ndarray], Any] | None = None
    """(geometry of S samples in training, x, y [S, 2] of the middle of their labelled joints) -> one that looks there;
    None: the recipe does not look where people are."""
    gives_scale: bool = False
    """Whether `move_people` tells how large people are."""
    loss_mask: Callable[[Sequence[Mapping[str, Any]], Callable[[], list[np.ndarray]], Any], np.ndarray] | None = None
    """(annotations of a picture with iscrowd, num_keypoints and, where the file has it, area; reads the segment of
    each, bool [h, w]; geometry of one sample in training) -> bool [H/4, W/4], cells of the final size where losses
    count; None: losses count everywhere."""
    fills_canvas: bool = False
    """Whether pictures in training have the size of the first canvas of the configuration, whatever theirs."""
    canvases: Callable[[ConfigDict], list[tuple[int, int]]] = lambda data: [tuple(c) for c in data.canvases]
    """config.data -> the canvases (height, width) on which pictures are predicted."""
    half_pixel: float = 0.0
    """What is added to the joints of a file: 0.5 where coordinates are continuous, 0 where they are pixel indices."""
    extra_draws: int = 0
    """Uniform numbers per sample from a stream of their own, which `draw_geometry` gets after its `draws`: for what is
    not the recipe's, see augment.py."""
