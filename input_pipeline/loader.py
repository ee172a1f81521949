"""From planned steps to batches: records are read at random, decoded and transformed by threads of tf.data.

    split = open_split(config, "train")
    for batch in train_batches(config, split, start_step=0, shards=8): ...

Nothing here keeps state that a checkpoint would have to store: starting at step s yields the batches an uninterrupted
run would have had from step s on, to the byte, whatever the number of hosts.
"""

import atexit
import dataclasses
import functools
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from input_pipeline import coco, crowdpose, custom, synthetic, yolo
from input_pipeline.annotations import (
    Annotations,
    facts_of_picture,
    fingerprint,
    ground_truth,
    pictures_with_largest_people,
    select_pictures,
    with_classes,
)  # fmt: skip
from input_pipeline.batching import FILLER, PlannedBatch, TrainPlan, plan_evaluation, training_amounts
from input_pipeline.coco_file import find_problems
from input_pipeline.prepare import PICTURE, SEGMENTS, open_prepared, prepare
from input_pipeline.segments import decode_segment, encode_segments
from input_pipeline.skipping import Skipped, load_skipped, may_skip
from input_pipeline.split_files import SplitFiles, check_split, data_key, read_content, usable_split
from input_pipeline.targets import Pixels, empty_pixels, make_batch
from querypose_jax.errors import UserError
from querypose_jax.pictures import read_picture
from querypose_jax.recipes import get_recipe, recipe_of
from querypose_jax.recipes.canvas import lay_on
from querypose_jax.recipes.recipe import Recipe
from querypose_jax.sides import has_side
from querypose_jax.skeletons import Skeleton, get_skeleton
from querypose_jax.structures import Batch

Source = tuple[str, Callable[[Path], tfds.core.GeneratorBasedBuilder]]  # key of the data, builder for a folder

tf.config.set_visible_devices([], "GPU")  # they are for jax

FILES = {
    "coco": coco.split_files,
    "crowdpose": crowdpose.split_files,
    "custom": custom.split_files,
    "yolo": yolo.split_files,
}
PREFETCHED_BATCHES = 2
_running: weakref.WeakSet[Generator] = weakref.WeakSet()  # iterators with threads behind them
DEFAULT_PREPARED = "data/prepared"  # under the working directory: the user's own data folder is never written to


@dataclasses.dataclass(frozen=True)
class Split:
    """A prepared split: its index, and its picture files by row."""

    name: str
    annotations: Annotations
    skeleton: Skeleton
    read: Callable[[int], bytes]
    """Row -> the bytes of its picture file."""
    is_labelled: bool = True
    """False where there is nothing to score predictions with."""
    read_segments: Callable[[int], Sequence[bytes]] = lambda row: ()
    """Row -> the run-length code of each of its objects."""
    skipped: tuple[Skipped, ...] = ()
    """What was left out of a training split when it was prepared."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names in the order of the labels."""
        return tuple(self.annotations.category_names.tolist())

    def ground_truth(self) -> dict:
        """COCO-format dict of the whole split, for pycocotools."""
        return ground_truth(self.annotations, self.skeleton)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits, equal for equal annotations."""
        return fingerprint(self.annotations)


def open_split(config: ConfigDict, split: str, classes: Sequence[str] = ()) -> Split:
    """Opens a split ("train", "val", ...), preparing its records first where they are missing.

    Args:
        config: of the run.
        split: name of the split.
        classes: names of the classes in the order of the labels; (): in the order that the split itself has.

    Raises:
        UserError: unknown data set or split, missing or unreadable files, other classes, nobody to train on.
    """
    data, skeleton = config.data, get_skeleton(config.data.skeleton)
    if data.name not in (*FILES, "synthetic"):
        raise UserError(f"data.name {data.name!r} is unknown; known: {', '.join(FILES)}, synthetic")
    if data.name == "synthetic":
        is_labelled = True
        key, make_builder = _synthetic_source(data, split)
    else:
        files = FILES[data.name](data, split, skeleton)
        is_labelled = files.is_labelled
        key, make_builder = _file_source(files, data.workers)
    folder = Path(data.prepared or DEFAULT_PREPARED) / f"{data.name}-{split}-{key}"
    prepare(folder, make_builder)
    prepared, read = open_prepared(folder)
    annotations, rows = used_part(config, split, prepared, classes)
    return Split(
        folder.name,
        annotations,
        skeleton,
        read=lambda row: read(rows[row], PICTURE)[0],
        is_labelled=is_labelled,
        read_segments=lambda row: read(rows[row], SEGMENTS),
        skipped=load_skipped(folder),
    )


def used_part(
    config: ConfigDict, split: str, annotations: Annotations, classes: Sequence[str] = ()
) -> tuple[Annotations, np.ndarray]:
    """What a run uses of an index, labels in the order of `classes`, and the rows of its pictures.

    Raises:
        UserError: other classes, or another number of them, than the model has; nobody to train on; a mirror that would
            exchange sides.
    """
    data = config.data
    if classes:
        annotations = with_classes(annotations, classes)
    if len(annotations.category_ids) != config.model.num_classes:
        names = ", ".join(annotations.category_names)
        raise UserError(
            f"the data set has the classes {names}; set model.num_classes to {len(annotations.category_ids)}"
        )
    rows = np.arange(annotations.num_pictures)
    if may_skip(split) and data.largest_people:
        is_target = get_recipe(data.recipe).is_target(annotations, data)
        rows = pictures_with_largest_people(annotations, is_target, data.largest_people)
        annotations = select_pictures(annotations, rows)
    if may_skip(split) or split == data.train_split:
        training_amounts(data, annotations)  # refuses where there is nobody to train on
        check_mirror(data)
    return annotations, rows


def check_mirror(data: ConfigDict) -> None:
    """Raises UserError where training mirrors pictures and a joint with a side in its name has no partner."""
    skeleton = get_skeleton(data.skeleton)
    paired = {joint for pair in skeleton.flip_pairs for joint in pair}
    alone = [name for j, name in enumerate(skeleton.names) if j not in paired and has_side(name)]
    if data.flip > 0 and alone:
        raise UserError(
            f"joint {alone[0]!r} has a side, but no partner in config.data.skeleton.flip_pairs: on a mirrored picture "
            "it is the other side's; pair it, or set data.flip=0"
        )


def _synthetic_source(data: ConfigDict, split: str) -> Source:
    check_split(split, synthetic.SPLITS)
    if "synthetic" not in data:
        raise UserError("the config has no group data.synthetic; start from configs/synthetic_tiny.py")

    def make_builder(folder: Path) -> synthetic.SyntheticPeople:
        return synthetic.SyntheticPeople(settings=data.synthetic, split=split, data_dir=folder)

    return synthetic.data_key(data.synthetic, split), make_builder


def _file_source(files: SplitFiles, workers: int) -> Source:
    def make_builder(folder: Path) -> coco.CocoKeypoints:
        content = read_content(files)
        annotations, skipped = usable_split(files, content, find_problems(content.lists, files.skeleton))
        for line in content.said:
            print(f"{folder.name.removesuffix('.partial')}: {line}", file=sys.stderr)
        return coco.CocoKeypoints(
            annotations=annotations,
            pictures=files.pictures,
            split=files.split,
            workers=workers,
            skipped=skipped,
            segments=encode_segments(content.lists),
            data_dir=folder,
        )

    return data_key(files), make_builder


def train_batches(
    config: ConfigDict,
    split: Split,
    *,
    start_step: int,
    shards: int,
    stop_step: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Batches start_step, start_step + 1, ...; each process receives its block of every batch's rows.

    Args:
        config: groups data and train (seed) are read.
        split: from open_split.
        start_step: first step.
        stop_step: the step before which they end; None: they never do.
        shards: devices of all processes together; must divide data.batch_size, a multiple of process_count.
        process_index: this process among process_count.
        process_count: processes that share a batch.
    """
    plan = TrainPlan(split.annotations, config, shards)
    share = _share(config.data.batch_size, shards, process_index, process_count)
    length = share.stop - share.start
    steps = itertools.count(start_step)
    first, last = start_step * length, np.iinfo(np.int64).max if stop_step is None else stop_step * length
    pixels = _start(_pixels(config, split, plan, share, first, last, is_training=True))
    for step, filled in zip(steps, pixels, strict=False):
        yield _finish(config, split, plan(step), share, filled)


def eval_batches(
    config: ConfigDict, split: Split, *, shards: int, process_index: int = 0, process_count: int = 1
) -> Iterator[Batch]:
    """Every picture of the split once, in batches of eval.batch_size * shards that share a canvas.

    Fillers (image_id FILLER_ID) complete short batches. The arguments are those of train_batches.
    """
    batches = plan_evaluation(split.annotations, config, shards)
    share = _share(config.eval.batch_size * shards, shards, process_index, process_count)
    last = len(batches) * (share.stop - share.start)
    pixels = _start(_pixels(config, split, batches.__getitem__, share, 0, last, is_training=False))
    for planned, filled in zip(batches, pixels, strict=True):
        yield _finish(config, split, planned, share, filled)


def _share(batch_size: int, shards: int, process_index: int, process_count: int) -> slice:
    """The rows of a batch that one process owns."""
    if shards % process_count:
        raise UserError(f"{shards} devices do not split over {process_count} processes evenly")
    length = batch_size // process_count
    return slice(process_index * length, (process_index + 1) * length)


def _finish(config: ConfigDict, split: Split, planned: PlannedBatch, share: slice, pixels: Pixels) -> Batch:
    return make_batch(
        split.annotations,
        recipe_of(config.data),
        *planned.samples,
        planned.members[share],
        pixels,
        config.data.max_people,
        planned.budget,
    )


def _start(pixels: Generator[Pixels, None, None]) -> Generator[Pixels, None, None]:
    _running.add(pixels)
    return pixels


@atexit.register
def _stop_all() -> None:
    """Threads of tf.data that still want the interpreter while it shuts down would wait for ever, and it for them."""
    for pixels in list(_running):
        pixels.close()


def _pixels(
    config: ConfigDict,
    split: Split,
    plan: Callable[[int], PlannedBatch],
    share: slice,
    first: int,
    last: int,
    is_training: bool,
) -> Generator[Pixels, None, None]:
    """Pixels of the share of consecutive steps; positions first..last count single pictures.

    tf.data schedules: reading, decoding and transforming happen in data.workers threads (Pillow lets go of the
    interpreter), which write into the batch's arrays. Passing pixels through tensors would copy them three times more.
    """
    length, recipe = share.stop - share.start, recipe_of(config.data)
    has_masks = is_training and recipe.loss_mask is not None
    waiting: dict[int, Pixels] = {}
    lock = threading.Lock()
    failures: list[Exception] = []

    def load(position: np.int64) -> np.int64:
        step, i = divmod(int(position), length)
        try:
            planned = plan(step)
            with lock:
                if step not in waiting:
                    waiting[step] = empty_pixels(length, planned.canvas, has_masks)
            load_picture(split, recipe, planned, share.start + i, waiting[step], i)
        except Exception as error:
            failures.append(error)
            raise
        return position

    options = tf.data.Options()
    options.threading.private_threadpool_size = config.data.workers
    options.deterministic = True
    options.autotune.enabled = False  # nothing is left to tune; its thread can hold up the end of a run for 30 s
    positions = tf.data.Dataset.range(first, last)
    loaded = positions.map(lambda p: tf.numpy_function(load, [p], tf.int64), num_parallel_calls=config.data.workers)
    loaded = loaded.batch(length, drop_remainder=True).prefetch(PREFETCHED_BATCHES).with_options(options)
    try:
        for done in loaded.as_numpy_iterator():
            with lock:
                pixels = waiting.pop(int(done[0]) // length)
            yield pixels
    except Exception:
        if failures:
            raise failures[0] from None  # the picture's own error, not tensorflow's account of it
        raise


def load_picture(
    split: Split, recipe: Recipe, planned: PlannedBatch, position: int, pixels: Pixels, place: int
) -> None:
    """Writes one member of a batch into a place of empty pixels; a filler writes nothing."""
    member = planned.members[position]
    if member == FILLER:
        return
    rows, geometry, _ = planned.samples
    row = rows[member]
    picture = read_picture(split.read(row), name=str(split.annotations.file_name[row]))
    lay_on(pixels.image[place], recipe.transform_picture(picture, geometry.at(member)))
    if pixels.loss_mask is not None:

        def segments() -> list[np.ndarray]:
            return [decode_segment(code, *split.annotations.size[row].tolist()) for code in split.read_segments(row)]

        facts = facts_of_picture(split.annotations, row)
        pixels.loss_mask[place] = recipe.loss_mask(facts, segments, geometry.at(member))
