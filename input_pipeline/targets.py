"""The people of planned samples in network pixels, and the numpy `Batch` they end in."""

from typing import Any, NamedTuple

import numpy as np

from input_pipeline.annotations import Annotations, objects_at
from querypose_jax.recipes.recipe import MASK_STRIDE, Recipe
from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import FILLER_ID, Batch, PeopleBudget


class Targets(NamedTuple):
    """The people left on S samples, one after the other; sample s owns rows start[s] to start[s + 1]."""

    start: np.ndarray
    """int64 [S + 1]"""
    boxes: np.ndarray
    """float32 [T, 4], xyxy, network pixels."""
    keypoints: np.ndarray
    """float32 [T, K, 3]"""
    area: np.ndarray
    """float32 [T], network pixels squared."""
    label: np.ndarray
    """int32 [T]"""
    scale: np.ndarray | None
    """float32 [T], how large each one is, see `MovedPeople.scale`; None where the recipe does not tell."""
    num_cut: int
    """People beyond max_people, the smallest of their pictures, that were left out."""

    @property
    def people(self) -> np.ndarray:
        """int64 [S]"""
        return np.diff(self.start)


class Pixels(NamedTuple):
    """What the threads of the loader write of B pictures."""

    image: np.ndarray
    """uint8 [B, H, W, 3]"""
    loss_mask: np.ndarray | None = None
    """bool [B, H/4, W/4], cells where losses count; None: all."""


def empty_pixels(count: int, canvas: tuple[int, int], has_masks: bool) -> Pixels:
    """Black pictures whose losses count everywhere."""
    height, width = canvas
    mask = np.ones((count, height // MASK_STRIDE, width // MASK_STRIDE), bool) if has_masks else None
    return Pixels(np.zeros((count, height, width, 3), np.uint8), mask)


def make_targets(
    annotations: Annotations,
    rows: np.ndarray,
    is_target: np.ndarray,
    geometry: Any,
    recipe: Recipe,
    skeleton: Skeleton,
    max_people: int,
) -> Targets:
    """Moves the people of pictures rows [S] through their geometry and drops those whose box is gone.

    Args:
        annotations: index of the data set.
        rows: int64 [S], may repeat.
        is_target: bool [O], who is trained on.
        geometry: of the S samples, of the recipe.
        recipe: moves people.
        skeleton: for the left/right pairs.
        max_people: slots per picture; the largest boxes stay, in their original order.
    """
    counts = annotations.start[rows + 1] - annotations.start[rows]
    sample = np.repeat(np.arange(len(rows)), counts)
    objects = np.arange(counts.sum()) + np.repeat(annotations.start[rows] - (np.cumsum(counts) - counts), counts)
    is_used = is_target[objects]
    sample, objects = sample[is_used], objects[is_used]

    moved = recipe.move_people(objects_at(annotations, objects), geometry.at(sample), skeleton)
    stays = moved.is_left & (_rank_by_size(sample, moved.boxes, moved.is_left) < max_people)
    return Targets(
        start=np.concatenate([[0], np.cumsum(np.bincount(sample[stays], minlength=len(rows)))]),
        boxes=moved.boxes[stays],
        keypoints=moved.keypoints[stays],
        area=moved.area[stays],
        label=annotations.label[objects[stays]],
        scale=None if moved.scale is None else moved.scale[stays],
        num_cut=int(moved.is_left.sum() - stays.sum()),
    )


def _rank_by_size(sample: np.ndarray, boxes: np.ndarray, is_left: np.ndarray) -> np.ndarray:
    """int64 [T]: 0 for the largest box of its sample; boxes that are gone come last."""
    size = np.where(is_left, (boxes[:, 2:] - boxes[:, :2]).prod(-1), -1.0)
    order = np.lexsort((-size, sample))
    first = np.searchsorted(sample, sample, side="left")  # `sample` ascends
    rank = np.empty(len(sample), np.int64)
    rank[order] = np.arange(len(sample)) - first
    return rank


def make_batch(
    annotations: Annotations,
    recipe: Recipe,
    rows: np.ndarray,
    geometry: Any,
    targets: Targets,
    members: np.ndarray,
    pixels: Pixels,
    max_people: int,
    budget: PeopleBudget | None,
) -> Batch:
    """Joins pixels and people.

    Args:
        recipe: of the geometry.
        rows, geometry, targets: of S samples.
        members: int64 [B], samples of this batch; negative ones are fillers (no picture, valid everywhere).
        pixels: of the batch.
    """
    size, num_keypoints = len(members), targets.keypoints.shape[1]
    is_filler = members < 0
    boxes = np.zeros((size, max_people, 4), np.float32)
    keypoints = np.zeros((size, max_people, num_keypoints, 3), np.float32)
    area = np.zeros((size, max_people), np.float32)
    label = np.zeros((size, max_people), np.int32)
    scale = None if targets.scale is None else np.zeros((size, max_people), np.float32)
    people = np.where(is_filler, 0, targets.people[members])
    for i, (member, count) in enumerate(zip(members, people, strict=True)):
        own = slice(targets.start[member], targets.start[member] + count)
        boxes[i, :count], keypoints[i, :count] = targets.boxes[own], targets.keypoints[own]
        area[i, :count], label[i, :count] = targets.area[own], targets.label[own]
        if scale is not None:
            scale[i, :count] = targets.scale[own]
    canvas = np.array(pixels.image.shape[1:3], np.int32)
    identity = np.eye(2, 3, dtype=np.float32)
    own_geometry = geometry.at(members)
    fill = is_filler[:, None]
    return Batch(
        image=pixels.image,
        valid_size=np.where(fill, canvas, own_geometry.final),
        orig_size=np.where(fill, canvas, own_geometry.original),
        image_id=np.where(is_filler, FILLER_ID, annotations.image_id[rows[members]]).astype(np.int32),
        inv_affine=np.where(fill[..., None], identity, recipe.inverse_affine(own_geometry)),
        boxes=boxes,
        keypoints=keypoints,
        area=area,
        label=label,
        is_person=np.arange(max_people) < people[:, None],
        loss_mask=pixels.loss_mask,
        person_scale=scale,
        budget=budget,
    )
