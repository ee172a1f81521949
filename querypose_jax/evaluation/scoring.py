"""From detections to the numbers of an evaluation, by the protocol of the data set."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from querypose_jax.evaluation.coco import Scorer, box_metrics, get_scorer, keypoint_metrics
from querypose_jax.evaluation.crowdpose import crowdpose_metrics, with_box_area
from querypose_jax.evaluation.released_rescore import rescore_results
from querypose_jax.skeletons import Skeleton

RESCORED = "keypoint_released_rescore"  # kind of the numbers that have passed the released step


class Scoring(NamedTuple):
    """How an evaluation is scored."""

    is_crowdpose: bool = False
    """CrowdPose's protocol instead of COCO's."""
    released_rescore: bool = False
    """Adds numbers after the released rescoring step, for comparison with published ones only."""
    scorer: Scorer = get_scorer()
    is_pruned: bool = False
    """Only what can be among the 20 best detections of a picture is there; boxes are scored among 100."""


def score(ground_truth: dict, detections: Sequence[dict], skeleton: Skeleton, scoring: Scoring) -> dict[str, float]:
    """keypoint/AP ..., box/AP ..., and keypoint_released_rescore/AP ... where wanted; see the two protocols."""
    protocol: Callable = crowdpose_metrics if scoring.is_crowdpose else keypoint_metrics
    metrics = protocol(ground_truth, detections, skeleton, scoring.scorer)
    truth = with_box_area(ground_truth) if scoring.is_crowdpose else ground_truth
    if not scoring.is_pruned:
        metrics |= box_metrics(truth, detections, scoring.scorer)
    if scoring.released_rescore:
        rescored = protocol(ground_truth, rescore_results(detections), skeleton, scoring.scorer)
        metrics |= {name.replace("keypoint/", f"{RESCORED}/"): value for name, value in rescored.items()}
    return metrics
