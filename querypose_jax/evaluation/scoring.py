"""From detections to the numbers of an evaluation, by the protocol of the data set."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from querypose_jax.evaluation.coco import Scorer, box_metrics, get_scorer, keypoint_metrics
from querypose_jax.evaluation.crowdpose import crowdpose_metrics, with_box_area
from querypose_jax.skeletons import Skeleton


class Scoring(NamedTuple):
    """How an evaluation is scored."""

    is_crowdpose: bool = False
    """CrowdPose's protocol instead of COCO's."""
    rescorings: Mapping[str, Callable[[Sequence[dict]], list[dict]]] = MappingProxyType({})
    """Name -> what a release does to results before it scores them: more numbers, to compare with published ones."""
    scorer: Scorer = get_scorer()
    are_all_there: bool = True
    """False: only what can be among the 20 best detections of a picture, while boxes are scored among 100."""


def score(ground_truth: dict, detections: Sequence[dict], skeleton: Skeleton, scoring: Scoring) -> dict[str, float]:
    """keypoint/AP ..., box/AP ..., and NAME/AP ... of each rescoring; see the two protocols."""
    protocol: Callable = crowdpose_metrics if scoring.is_crowdpose else keypoint_metrics
    metrics = protocol(ground_truth, detections, skeleton, scoring.scorer)
    truth = with_box_area(ground_truth) if scoring.is_crowdpose else ground_truth
    if scoring.are_all_there:
        metrics |= box_metrics(truth, detections, scoring.scorer)
    for kind, rescore in scoring.rescorings.items():
        rescored = protocol(ground_truth, rescore(detections), skeleton, scoring.scorer)
        metrics |= {name.replace("keypoint/", f"{kind}/"): value for name, value in rescored.items()}
    return metrics
