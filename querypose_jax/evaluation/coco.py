"""The COCO protocol by pycocotools: average precision and recall of keypoints and of boxes.

The numbers are those of the raw results. Results carry a box beside the keypoints, as the released evaluation's do:
pycocotools then takes a detection's area from the box, which matters for APm and APl (an unmatched
detection outside the area range is ignored, not counted as false).
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, NamedTuple

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
    ("APeasy", "APmedium", "APhard"),
)  # of the blocks of the table; the last one is CrowdPose's


class Scorer(NamedTuple):
    """A library that scores results: its classes of an annotation file and of an evaluation."""

    coco: type
    evaluation: type


def get_scorer(name: str = "pycocotools") -> Scorer:
    """pycocotools, or faster_coco_eval, which gives the same numbers sooner.

    Raises:
        UserError: the name is unknown, or the library is not installed.
    """
    if name == "pycocotools":
        return Scorer(COCO, COCOeval)
    if name != "faster_coco_eval":
        raise UserError(f"config.eval.scorer={name!r} is unknown; known: pycocotools, faster_coco_eval")
    try:
        import faster_coco_eval
    except ModuleNotFoundError:
        raise UserError(
            "config.eval.scorer='faster_coco_eval' is not installed; pip install faster-coco-eval, or take pycocotools"
        ) from None
    return Scorer(faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster)


def keypoint_metrics(
    ground_truth: dict, results: Sequence[dict], skeleton: Skeleton, scorer: Scorer | None = None
) -> dict[str, float]:
    """keypoint/AP, AP50, AP75, APm, APl, AR, AR50, AR75, ARm, ARl (OKS with the skeleton's sigmas, 20 people each).

    Args:
        ground_truth: COCO annotations (images, annotations, categories); every image counts.
        results: COCO results, see `to_coco_results`; neither argument is changed.
        skeleton: K joints, in the order of both.
        scorer: from get_scorer; None: pycocotools.

    Returns:
        Values from 0 to 1; -1 where there is nothing to find (pycocotools' convention).

    Raises:
        UserError: results of an image that the ground truth lacks, or people with another number of joints.
    """
    check_joints(ground_truth, results, skeleton)
    evaluation = prepare(ground_truth, results, "keypoints", np.array(skeleton.sigmas), scorer or get_scorer())
    return {f"keypoint/{name}": value for name, value in zip(KEYPOINT_STATS, summarize(evaluation), strict=True)}


def box_metrics(ground_truth: dict, results: Sequence[dict], scorer: Scorer | None = None) -> dict[str, float]:
    """box/AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR (100 boxes per picture), ARs, ARm, ARl.

    Arguments, values and errors as in `keypoint_metrics`.
    """
    evaluation = prepare(ground_truth, results, "bbox", None, scorer or get_scorer())
    return {f"box/{name}": value for name, value in zip(BOX_STATS, summarize(evaluation), strict=True)}


def check_joints(ground_truth: dict, results: Sequence[dict], skeleton: Skeleton) -> None:
    """Raises UserError where people have another number of joints than the skeleton."""
    expected = 3 * skeleton.num_keypoints
    for kind, people in (("annotation", ground_truth["annotations"]), ("result", results)):
        wrong = next((person for person in people if len(person.get("keypoints", ())) != expected), None)
        if wrong is not None:
            raise UserError(
                f"{kind} of image {wrong['image_id']} has {len(wrong.get('keypoints', ()))} keypoint numbers, "
                f"skeleton {skeleton.name} needs {expected}; choose the skeleton of the data set"
            )


def prepare(
    ground_truth: dict, results: Sequence[dict], iou_type: str, sigmas: np.ndarray | None, scorer: Scorer
) -> Any:
    """A COCOeval of "keypoints" or "bbox" that has not run yet; raises UserError for results of unknown pictures."""
    known = {image["id"] for image in ground_truth["images"]}
    strangers = sorted({result["image_id"] for result in results} - known)
    if strangers:
        raise UserError(
            f"results of {len(strangers)} images are not in the ground truth (first id {strangers[0]}); "
            "evaluate against the annotations of the same split"
        )
    with redirect_stdout(io.StringIO()):  # pycocotools talks
        truth = _index(scorer, ground_truth, ground_truth["annotations"])
        # loadRes cannot load nothing.
        found = truth.loadRes([dict(r) for r in results]) if results else _index(scorer, ground_truth, [])
        evaluation = scorer.evaluation(truth, found, iou_type)
    if sigmas is not None:
        evaluation.params.kpt_oks_sigmas = sigmas
    return evaluation


def accumulate(evaluation: Any) -> dict[str, np.ndarray]:
    """Runs an evaluation with its parameters: "precision" [IoU, recall, category, area, detections] and so on."""
    with redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def summarize(evaluation: Any) -> list[float]:
    """Runs an evaluation; the numbers of KEYPOINT_STATS or BOX_STATS."""
    accumulate(evaluation)
    with redirect_stdout(io.StringIO()):
        evaluation.summarize()
    count = len(KEYPOINT_STATS if evaluation.params.iouType == "keypoints" else BOX_STATS)
    return [float(value) for value in evaluation.stats[:count]]  # faster_coco_eval appends others


def _index(scorer: Scorer, ground_truth: dict, annotations: Sequence[dict]) -> Any:
    """Libraries write into annotations: they get copies, counted from 1, for an id of 0 says "no match" to them."""
    coco = scorer.coco()
    coco.dataset = {**ground_truth, "annotations": [a | {"id": i} for i, a in enumerate(annotations, start=1)]}
    coco.createIndex()
    return coco


def metrics_table(metrics: dict[str, float]) -> str:
    """Text for a terminal: precision, recall, CrowdPose's groups; one line per kind ("keypoint/AP" is of "keypoint").

    A dash marks what is not measured or has nothing to find (-1). Values as in COCO's papers: 0 to 100. Numbers after
    the released rescoring step say in their line what they are.
    """
    scored = {column for columns in COLUMNS for column in columns}
    kinds = list(dict.fromkeys(name.rpartition("/")[0] for name in metrics if name.rpartition("/")[2] in scored))
    width = max([len(kind) for kind in kinds], default=0)
    blocks = []
    for columns in COLUMNS:
        if "APeasy" in columns and not any(f"{kind}/APeasy" in metrics for kind in kinds):
            continue
        lines = [" " * width + "".join(f"{column:>{max(8, len(column) + 2)}}" for column in columns)]
        for kind in kinds:
            values = [metrics.get(f"{kind}/{column}", -1.0) for column in columns]
            cells = ("-" if value < 0 else f"{100 * value:.1f}" for value in values)
            shown = (f"{cell:>{max(8, len(column) + 2)}}" for cell, column in zip(cells, columns, strict=True))
            lines.append(f"{kind:<{width}}" + "".join(shown))
        blocks.append("\n".join(lines))
    return "\n".join(blocks)
