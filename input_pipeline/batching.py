"""The plan: which pictures make up a step, what happens to them, on which canvas, all from (config, index, step).

Samples come from an endless stream of epochs, each a seeded permutation. Sample q undergoes draws that depend on
(seed, q) only, so sizes, canvases and people are known before a pixel is read. A block of `data.block_batches` batches
takes that many consecutive samples, regroups them so that the pictures of a batch share a canvas, and shuffles its
batches: every sample is used exactly once and its draws are untouched. Any host can compute any block from nothing.
"""

import functools
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from input_pipeline.annotations import Annotations, labelled_centres
from input_pipeline.targets import Targets, make_targets
from querypose_jax.budget import choose_budget
from querypose_jax.errors import UserError
from querypose_jax.recipes import get_recipe, recipe_of
from querypose_jax.recipes.canvas import choose_canvas
from querypose_jax.recipes.recipe import Recipe
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import PeopleBudget

WORDS_PER_COUNT = 4  # 64-bit words that one count of a Philox counter yields
SAMPLE_STREAM, BATCH_STREAM, EPOCH_STREAM, EXTRA_STREAM = (
    0,
    1 << 62,
    1 << 63,
    3 << 62,
)  # second words of the Philox keys
FILLER = -1  # stands for a sample where a batch has no picture left


class Samples(NamedTuple):
    """S samples before they are grouped."""

    rows: np.ndarray
    """int64 [S], records."""
    geometry: Any
    """Of the recipe."""
    targets: Targets


class PlannedBatch(NamedTuple):
    """Everything about a batch but its pixels."""

    samples: Samples
    members: np.ndarray
    """int64 [B], indices into samples, or FILLER."""
    canvas: tuple[int, int]
    budget: PeopleBudget | None


class TrainPlan:
    """Plans training steps, remembering the last blocks. Safe to call from many threads."""

    def __init__(self, annotations: Annotations, config: ConfigDict, shards: int):
        check_batch_size(config.data.batch_size, shards)
        self.block_batches = config.data.block_batches
        self._lock = threading.Lock()
        self._block = functools.lru_cache(maxsize=3)(functools.partial(plan_block, annotations, config, shards))

    def __call__(self, step: int) -> PlannedBatch:
        with self._lock:
            return self._block(step // self.block_batches)[step % self.block_batches]


def check_batch_size(batch_size: int, shards: int) -> None:
    if batch_size % shards:
        raise UserError(f"data.batch_size {batch_size} does not split over {shards} devices; make it a multiple")


def plan_block(annotations: Annotations, config: ConfigDict, shards: int, block: int) -> list[PlannedBatch]:
    """The batches of one block of training steps, in their order."""
    data, seed = config.data, config.train.seed
    count = data.block_batches * data.batch_size
    first = block * count
    recipe = recipe_of(data)
    is_target = recipe.is_target(annotations, data)
    rows = stream_rows(usable_rows(annotations, recipe, is_target, data.keep_empty), seed, first, count)
    uniform = sample_uniform(seed, first, count, recipe.draws)
    if recipe.extra_draws:
        extra = sample_uniform(seed, first, count, recipe.extra_draws, EXTRA_STREAM)
        uniform = np.concatenate([uniform, extra], -1)
    geometry = recipe.draw_geometry(uniform, annotations.size[rows], data)
    if recipe.aim:
        geometry = recipe.aim(geometry, labelled_centres(annotations, is_target)[rows])
    targets = make_targets(annotations, rows, is_target, geometry, recipe, get_skeleton(data.skeleton), data.max_people)
    samples = Samples(rows, geometry, targets)
    batches = []
    for members, canvas in group_for_training(geometry.final, targets.people, data.canvases, data.batch_size):
        budget = choose_budget(targets.people[members], shards, data.people_ladder)
        batches.append(PlannedBatch(samples, members, canvas, budget))
    order = np.argsort(_words(seed, BATCH_STREAM + block, 0, len(batches)), kind="stable")
    return [batches[i] for i in order]


def plan_evaluation(annotations: Annotations, config: ConfigDict, shards: int) -> list[PlannedBatch]:
    """The pictures of `evaluated_rows` once, batches of one canvas each, completed with fillers."""
    data, evaluation = config.data, config.eval
    rows = evaluated_rows(annotations, config)
    recipe = recipe_of(data)
    geometry, is_target = recipe.rest_geometry(annotations.size[rows], data), recipe.is_target(annotations, data)
    targets = make_targets(annotations, rows, is_target, geometry, recipe, get_skeleton(data.skeleton), data.max_people)
    choose = functools.partial(
        choose_canvas, canvases=recipe.canvases(data), step=recipe.canvas_step, exact=evaluation.canvas == "exact"
    )
    canvases = np.array([choose(h, w) for h, w in geometry.final.tolist()]).reshape(-1, 2)
    size = evaluation.batch_size * shards
    samples, batches = Samples(rows, geometry, targets), []
    for canvas in np.unique(canvases, axis=0):
        members = np.flatnonzero((canvases == canvas).all(-1))
        members = np.pad(members, (0, -len(members) % size), constant_values=FILLER)
        batches += [PlannedBatch(samples, part, tuple(canvas.tolist()), None) for part in members.reshape(-1, size)]
    return batches


def evaluated_rows(annotations: Annotations, config: ConfigDict) -> np.ndarray:
    """int64, ascending: all pictures, or with eval.image_filter="with_person" those with somebody or a crowd on them;
    of these the first eval.max_pictures."""
    rows = np.arange(annotations.num_pictures)
    if config.eval.image_filter == "with_person":
        rows = rows[np.diff(annotations.start) > 0]
    return rows[: config.eval.max_pictures or None]


def usable_rows(annotations: Annotations, recipe: Recipe, is_target: np.ndarray, keep_empty: bool) -> np.ndarray:
    """int64: the pictures that training uses, ascending. With `keep_empty` also those on which nobody is annotated:
    where there is a crowd, or somebody who is not trained on, the picture is no negative.

    Raises:
        UserError: nobody is left to train on.
    """
    usable = recipe.is_usable(annotations, is_target)
    if not is_target.any():
        raise UserError("no picture of the training split has a person to train on; check the annotation file")
    return np.flatnonzero(usable | (keep_empty & (np.diff(annotations.start) == 0)))


def training_amounts(data: ConfigDict, annotations: Annotations) -> tuple[int, int]:
    """How many pictures training uses, and how many people are trained on; UserError where there is nobody."""
    recipe = get_recipe(data.recipe)
    is_target = recipe.is_target(annotations, data)
    return len(usable_rows(annotations, recipe, is_target, data.keep_empty)), int(is_target.sum())


def about_masks(data: ConfigDict, annotations: Annotations) -> str:
    """A line where losses would leave out some people and no segmentation says where they are; else ""."""
    if get_recipe(data.recipe).loss_mask is None or annotations.is_segmented.any():
        return ""
    return "the annotations have no segmentations: losses count everywhere, also on people who are not trained on"


def stream_rows(usable: np.ndarray, seed: int, first: int, count: int) -> np.ndarray:
    """int64 [count]: the records of samples first..first + count - 1 of the endless stream over usable rows."""
    sample = np.arange(first, first + count)
    epoch, place = np.divmod(sample, len(usable))
    rows = np.empty(count, np.int64)
    for e in np.unique(epoch):
        rows[epoch == e] = usable[epoch_order(seed, int(e), len(usable))[place[epoch == e]]]
    return rows


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of 0..count - 1 that depends on the seed and the epoch."""
    return np.argsort(_words(seed, EPOCH_STREAM + epoch, 0, count), kind="stable")


def sample_uniform(seed: int, first: int, count: int, draws: int, stream: int = SAMPLE_STREAM) -> np.ndarray:
    """float64 [count, draws] in [0, 1), one row for each of the samples first, first + 1, ... of the stream."""
    counts = -(-draws // WORDS_PER_COUNT)  # of the generator's counter, for each sample
    words = _words(seed, stream, first * counts, count * counts * WORDS_PER_COUNT)
    return (words >> np.uint64(11)).reshape(count, -1)[:, :draws] * 2.0**-53


def _words(seed: int, stream: int, counter: int, count: int) -> np.ndarray:
    """Raw words of a Philox generator: unlike numpy's distributions they never change with numpy's version."""
    return np.random.Philox(key=np.array([seed, stream], np.uint64), counter=counter).random_raw(count)


def smallest_canvas(sizes: np.ndarray, canvases: Sequence[tuple[int, int]]) -> np.ndarray:
    """int [S]: index of the canvas of least area that holds each h, w of sizes [S, 2].

    Raises:
        UserError: a picture fits on none of them.
    """
    ladder = np.asarray(canvases)
    by_area = np.argsort(ladder.prod(-1), kind="stable")
    fits = (sizes[:, None] <= ladder[by_area]).all(-1)
    if not fits.any(-1).all():
        height, width = sizes[~fits.any(-1)][0].tolist()
        raise UserError(f"data.canvases: none holds a picture of {height} x {width} pixels (h x w); add a larger one")
    return by_area[fits.argmax(-1)]


def group_for_training(
    sizes: np.ndarray, people: np.ndarray, canvases: Sequence[tuple[int, int]], batch_size: int
) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Splits samples into batches whose members share a canvas, with people spread evenly over batches.

    From the largest canvas down: what a canvas lacks to full batches it takes from the next smaller ones that fit into
    it. Landscape and portrait therefore mix, if at all, where pictures are smallest, and a canvas that
    holds everything is not needed for the leftovers of both.

    Args:
        sizes: int [S, 2], h, w; S is a multiple of batch_size.
        people: int [S].
        canvases: h, w of each; some canvas must hold any two pictures together.
        batch_size: members of a batch.

    Returns:
        (members [batch_size], canvas) of every batch.
    """
    ladder = sorted({tuple(canvas) for canvas in canvases}, key=lambda c: (-c[0] * c[1], c))
    best = smallest_canvas(sizes, ladder)
    waiting = [np.flatnonzero(best == i).tolist() for i in range(len(ladder))]
    batches, leftovers = [], []
    for i, canvas in enumerate(ladder):
        pool = waiting[i]
        for j in range(i + 1, len(ladder)):
            lacking = -len(pool) % batch_size
            if ladder[j][0] <= canvas[0] and ladder[j][1] <= canvas[1] and lacking:
                pool = pool + waiting[j][:lacking]
                waiting[j] = waiting[j][lacking:]
        full = len(pool) // batch_size * batch_size
        leftovers += pool[full:]
        for members in spread(np.array(pool[:full], np.int64), people, full // batch_size):
            batches.append((members, canvas))
    for members in np.array(leftovers, np.int64).reshape(-1, batch_size):
        batches.append((members, ladder[smallest_canvas(sizes[members].max(0, keepdims=True), ladder)[0]]))
    return [(balanced_order(members, people), canvas) for members, canvas in batches]


def spread(samples: np.ndarray, people: np.ndarray, parts: int) -> list[np.ndarray]:
    """Deals samples into parts of equal size whose numbers of people are as equal as a greedy choice makes them.

    `people` is indexed by sample; the samples of a part keep their order.
    """
    if parts <= 1:
        return [samples][:parts]
    room = len(samples) // parts
    dealt: list[list[int]] = [[] for _ in range(parts)]
    load = np.zeros(parts)
    for i in np.argsort(-people[samples], kind="stable"):
        part = int(load.argmin())
        dealt[part].append(i)
        load[part] = load[part] + people[samples[i]] if len(dealt[part]) < room else np.inf
    return [samples[sorted(part)] for part in dealt]


def balanced_order(members: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Orders a batch so that halves, quarters, ... hold about equally many people.

    A mesh of any power of two devices then has balanced shards, while the order does not depend on the mesh.
    `people` is indexed by member.
    """
    if len(members) < 2 or len(members) % 2:
        return members
    return np.concatenate([balanced_order(half, people) for half in spread(members, people, 2)])
