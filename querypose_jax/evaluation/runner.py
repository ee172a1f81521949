"""An evaluation from batches to numbers, files and pictures."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from querypose_jax.errors import UserError
from querypose_jax.evaluation.breakdown import breakdown, write_breakdown
from querypose_jax.evaluation.crowdpose import with_box_area
from querypose_jax.evaluation.gallery import Gallery
from querypose_jax.evaluation.gather import Found, tell
from querypose_jax.evaluation.operating import operating_points, threshold_metrics
from querypose_jax.evaluation.report import write_report
from querypose_jax.evaluation.scoring import Scoring, score
from querypose_jax.files import write_json
from querypose_jax.inference.draw import draw_poses
from querypose_jax.inference.results import to_coco_results
from querypose_jax.pictures import write_jpeg
from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import FILLER_ID, Batch, Poses


def evaluate(
    predict: Callable[[Batch], Poses | Found],
    batches: Iterable[Batch],
    ground_truth: dict,
    skeleton: Skeleton,
    output_dir: Path | None = None,
    num_drawn: int = 8,
    draw_threshold: float = 0.3,
    progress: bool = True,
    num_pictures: int | None = None,
    scoring: Scoring | None = None,
) -> dict[str, float]:
    """Predicts every picture once and scores keypoints and boxes.

    In several processes each calls this with its part of every batch. All follow the same pictures, so that all stop
    at the same error; process 0 draws, scores and writes.

    Args:
        predict: poses of a batch, original pixels, leading B; on the device or numpy. Where other processes predict
            parts of the batch: (image_id, poses) of the whole, see `gather.gathering`.
        batches: each picture of the evaluation once, in any order; fillers have image_id FILLER_ID.
        ground_truth: COCO annotations, categories in the order of the labels; only those of the pictures that came
            count.
        skeleton: the keypoints of model and annotations.
        output_dir: gets pictures/IMAGE_ID.jpg, worst/ and best/, detections.json, breakdown.json, index.html and
            metrics.json (last: it says that the rest is complete). None writes nothing.
        num_drawn: number of pictures drawn, the first that have people, and of the worst and of the best ones.
        draw_threshold: smallest score of a drawn person.
        progress: shows a bar with pictures per second.
        num_pictures: how many pictures must come, for the bar and for a check. None: unknown.
        scoring: protocol, library and extra numbers; None: COCO's protocol by pycocotools.

    Returns:
        "keypoint/AP", "box/AP" and so on, see `scoring.score`; "threshold/score" and so on, see `threshold_metrics`;
        and the mean over the pictures of what the model notes about its work, under its names.

    Raises:
        UserError: a picture came twice, is not in the ground truth or is missing; nothing but drawings is written then.
    """
    how = scoring or Scoring()
    gallery = Gallery(ground_truth, skeleton, num_drawn, draw_threshold) if output_dir and num_drawn else None
    drawing = Drawing(output_dir, num_drawn, draw_threshold, gallery)
    notes: dict[str, list[float]] = {}
    image_ids, detections = detect(predict, batches, ground_truth, skeleton, drawing, progress, num_pictures, notes)
    truth = restrict(ground_truth, image_ids)

    def compute() -> dict[str, float]:
        metrics = score(truth, detections, skeleton, how)
        by_area = with_box_area(truth) if how.is_crowdpose else truth
        points = operating_points(by_area, detections, skeleton)
        metrics |= threshold_metrics(points)
        metrics |= {name: float(np.mean(values)) for name, values in notes.items()}
        if output_dir:
            write_json(output_dir / "detections.json", detections)
            write_breakdown(output_dir, breakdown(by_area, detections, skeleton))
            if gallery:
                gallery.write(output_dir)
            write_report(output_dir, metrics, output_dir.parent.parent / "metrics.jsonl", points)
            write_json(output_dir / "metrics.json", metrics, indent=2)
        return metrics

    return tell(compute)


class Drawing(NamedTuple):
    """Which pictures of an evaluation are drawn, and where."""

    folder: Path | None
    """Gets pictures/IMAGE_ID.jpg; None: nothing is drawn."""
    most: int
    threshold: float
    """Smallest score of a drawn person."""
    gallery: Gallery | None = None
    """Looks at every picture whose pixels are at hand."""


def detect(
    predict: Callable[[Batch], Poses | Found],
    batches: Iterable[Batch],
    ground_truth: dict,
    skeleton: Skeleton,
    drawing: Drawing,
    progress: bool = True,
    num_pictures: int | None = None,
    notes: dict[str, list[float]] | None = None,
) -> tuple[list[int], list[dict]]:
    """The ids of all pictures, ascending, and their people as COCO results; arguments and errors as in `evaluate`.

    By picture id, inside a picture by query: ties between scores fall the same way whatever the batches were.
    `notes` collects what the model notes about each picture.
    """
    category_ids = [category["id"] for category in ground_truth["categories"]]
    with_people = {person["image_id"] for person in ground_truth["annotations"]}
    results: dict[int, list[dict]] = {}
    drawn = 0
    main_process = jax.process_index() == 0
    with tqdm(total=num_pictures, unit="picture", desc="eval", disable=not (progress and main_process)) as bar:
        for batch, ids, poses in _one_behind(predict, batches):
            own = len(batch.image_id) if main_process else 0  # rows whose pixels are at hand
            for b, image_id in enumerate(map(int, ids)):
                if image_id == FILLER_ID:
                    continue
                if image_id in results:
                    raise UserError(f"evaluation: picture {image_id} came twice; each picture must be evaluated once")
                one = jax.tree.map(lambda field, b=b: field[b : b + 1], poses)
                if not (np.isfinite(one.scores).all() and np.isfinite(one.boxes).all()):  # NaN boxes are not valid
                    raise UserError(f"evaluation: the model gives NaN on picture {image_id}; take another checkpoint")
                results[image_id] = to_coco_results(one, [image_id], category_ids)
                for name, values in ({} if notes is None else one.notes or {}).items():
                    notes.setdefault(name, []).append(float(values[0]))
                is_shown = b < own and drawn < drawing.most and (image_id in with_people or not with_people)
                if drawing.folder and is_shown:
                    picture = draw_evaluated(batch, b, one, skeleton, drawing.threshold)
                    write_jpeg(drawing.folder / "pictures" / f"{image_id}.jpg", picture)
                    drawn += 1
                if drawing.gallery and b < own:
                    drawing.gallery.add(image_id, partial(original_picture, batch, b), one)
                bar.update()
    if num_pictures is not None and len(results) != num_pictures:
        raise UserError(f"evaluation: {len(results)} pictures came, {num_pictures} were expected")
    return sorted(results), [result for image_id in sorted(results) for result in results[image_id]]


def restrict(ground_truth: dict, image_ids: Iterable[int]) -> dict:
    """The ground truth of some pictures only; raises UserError where one of them is not in it."""
    wanted = set(image_ids)
    images = [image for image in ground_truth["images"] if image["id"] in wanted]
    missing = wanted - {image["id"] for image in images}
    if missing:
        raise UserError(
            f"evaluation: {len(missing)} pictures are not in the ground truth (first id {min(missing)}); "
            "evaluate against the annotations of the same split"
        )
    annotations = [person for person in ground_truth["annotations"] if person["image_id"] in wanted]
    return {**ground_truth, "images": images, "annotations": annotations}


def draw_evaluated(batch: Batch, b: int, poses: Poses, skeleton: Skeleton, threshold: float) -> Image.Image:
    """Picture b of a batch at its original size with its poses (numpy, leading 1) drawn on it."""
    kept = poses.valid[0]
    fields = (poses.boxes, poses.keypoints, poses.keypoint_scores, poses.scores)
    people = (field[0][kept] for field in fields)
    return draw_poses(original_picture(batch, b), *people, skeleton, threshold)


def original_picture(batch: Batch, b: int) -> Image.Image:
    """Picture b of a batch at its original size, from where on the canvas `inv_affine` says that it lies."""
    height, width = map(int, batch.orig_size[b])
    scale, offset = np.asarray(batch.inv_affine[b])[(0, 1), (0, 1)], np.asarray(batch.inv_affine[b])[:, 2]
    corners = (np.array([(0, 0), (width, height)]) - offset) / scale
    low, high = np.clip(corners, 0, np.asarray(batch.valid_size[b])[::-1])
    left, top = np.floor(low).astype(int)
    right, bottom = np.ceil(high).astype(int)
    pixels = Image.fromarray(np.asarray(batch.image[b])[top:bottom, left:right])  # nothing of the border bleeds in
    box = (*(low - (left, top)), *(high - (left, top)))
    return pixels.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _one_behind(
    predict: Callable[[Batch], Poses | Found], batches: Iterable[Batch]
) -> Iterator[tuple[Batch, np.ndarray, Poses]]:
    """(batch, numpy image_id and poses) one step late: the host handles a batch while the device works on the next."""
    waiting = None
    for batch in batches:
        found = predict(batch)
        started = batch, found if isinstance(found, tuple) else (batch.image_id, found)
        if waiting:
            yield waiting[0], *jax.device_get(waiting[1])
        waiting = started
    if waiting:
        yield waiting[0], *jax.device_get(waiting[1])
