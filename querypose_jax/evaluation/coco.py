"""The COCO protocol by pycocotools: average precision and recall of keypoints and of boxes.

The numbers are those of the raw results. Results carry a box beside the keypoints, as the released evaluation's do:
pycocotools then takes a detection's area from the box, which matters for APm and APl (an unmatched
detection outside the area range is ignored, not counted as false).
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from querypose_jax.errors import UserError
from querypose_jax.inference.results import to_coco_results
from querypose_jax.skeletons import Skeleton

__all__ = ["box_metrics", "keypoint_metrics", "metrics_table", "to_coco_results"]

# What `COCOeval.summarize` leaves in `stats`, in its order. "AP" alone is the mean over IoU (OKS) 0.50:0.05:0.95;
# s, m, l are areas below 32^2, up to 96^2 and above; AR1 and AR10 allow that many boxes per picture.
KEYPOINT_STATS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
BOX_STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl")
COLUMNS = (
    ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    ("AR", "AR50", "AR75", "ARs", "ARm", "ARl"),
)  # of the two blocks of the table


def keypoint_metrics(ground_truth: dict, results: Sequence[dict], skeleton: Skeleton) -> dict[str, float]:
    """keypoint/AP, AP50, AP75, APm, APl, AR, AR50, AR75, ARm, ARl (OKS with the skeleton's sigmas, 20 people each).

    Args:
        ground_truth: COCO annotations (images, annotations, categories); every image counts.
        results: COCO results, see `to_coco_results`; neither argument is changed.
        skeleton: K joints, in the order of both.

    Returns:
        Values from 0 to 1; -1 where there is nothing to find (pycocotools' convention).

    Raises:
        UserError: results of an image that the ground truth lacks, or people with another number of joints.
    """
    expected = 3 * skeleton.num_keypoints
    for kind, people in (("annotation", ground_truth["annotations"]), ("result", results)):
        wrong = next((person for person in people if len(person.get("keypoints", ())) != expected), None)
        if wrong is not None:
            raise UserError(
                f"{kind} of image {wrong['image_id']} has {len(wrong.get('keypoints', ()))} keypoint numbers, "
                f"skeleton {skeleton.name} needs {expected}; choose the skeleton of the data set"
            )
    stats = _evaluate(ground_truth, results, "keypoints", np.array(skeleton.sigmas))
    return {f"keypoint/{name}": value for name, value in zip(KEYPOINT_STATS, stats, strict=True)}


def box_metrics(ground_truth: dict, results: Sequence[dict]) -> dict[str, float]:
    """box/AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR (100 boxes per picture), ARs, ARm, ARl.

    Arguments, values and errors as in `keypoint_metrics`.
    """
    stats = _evaluate(ground_truth, results, "bbox", None)
    return {f"box/{name}": value for name, value in zip(BOX_STATS, stats, strict=True)}


def _evaluate(ground_truth: dict, results: Sequence[dict], iou_type: str, sigmas: np.ndarray | None) -> list[float]:
    known = {image["id"] for image in ground_truth["images"]}
    strangers = sorted({result["image_id"] for result in results} - known)
    if strangers:
        raise UserError(
            f"results of {len(strangers)} images are not in the ground truth (first id {strangers[0]}); "
            "evaluate against the annotations of the same split"
        )
    with redirect_stdout(io.StringIO()):  # pycocotools talks
        truth = _index(ground_truth, ground_truth["annotations"])
        # loadRes cannot load nothing.
        found = truth.loadRes([dict(result) for result in results]) if results else _index(ground_truth, [])
        evaluation = COCOeval(truth, found, iou_type)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def _index(ground_truth: dict, annotations: Sequence[dict]) -> COCO:
    """pycocotools writes into annotations: it gets copies."""
    coco = COCO()
    coco.dataset = {**ground_truth, "annotations": [dict(annotation) for annotation in annotations]}
    coco.createIndex()
    return coco


def metrics_table(metrics: dict[str, float]) -> str:
    """Text for a terminal: precision above, recall below, one line per kind ("keypoint/AP" is of kind "keypoint").

    A dash marks what is not measured or has nothing to find (-1). Values as in COCO's papers: 0 to 100.
    """
    kinds = list(dict.fromkeys(name.partition("/")[0] for name in metrics if "/" in name))
    width = max([len(kind) for kind in kinds], default=0)
    blocks = []
    for columns in COLUMNS:
        lines = [" " * width + "".join(f"{column:>8}" for column in columns)]
        for kind in kinds:
            values = [metrics.get(f"{kind}/{column}", -1.0) for column in columns]
            cells = ("-" if value < 0 else f"{100 * value:.1f}" for value in values)
            lines.append(f"{kind:<{width}}" + "".join(f"{cell:>8}" for cell in cells))
        blocks.append("\n".join(lines))
    return "\n".join(blocks)
