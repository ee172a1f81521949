"""Precision, recall and F1 against the score from which people are reported, and the score at which F1 is best.

AP looks at the order of scores only: a model may be good and report nobody above a threshold that somebody else has
chosen. Here a person counts as found by the protocol's own matching at OKS 0.5, which does not change when detections
of smaller scores are left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from querypose_jax.evaluation.breakdown import FOUND, of
from querypose_jax.evaluation.coco import accumulate, get_scorer, prepare
from querypose_jax.skeletons import Skeleton


class Operating(NamedTuple):
    """What a threshold at each of n scores would give; scores descend, all different."""

    scores: Float[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]
    recall: Float[np.ndarray, " n"]
    f1: Float[np.ndarray, " n"]
    people: int
    """To be found."""

    @property
    def best(self) -> int:
        """Where F1 is highest, the highest such score."""
        return int(self.f1.argmax())

    @property
    def threshold(self) -> float:
        """In the middle between the smallest score that is best reported and the next smaller one."""
        below = self.scores[self.best + 1] if self.best + 1 < len(self.scores) else self.scores[self.best]
        return float(self.scores[self.best] + below) / 2


def operating_points(ground_truth: dict, results: Sequence[dict], skeleton: Skeleton) -> dict[str, Operating]:
    """By class, under its name, and of all together, under "". Classes of which nothing is labelled or nothing found
    are left out.

    Args:
        ground_truth: COCO annotations with the areas that count (CrowdPose: `with_box_area`).
        results: COCO results of the same pictures.
        skeleton: the joints of both.
    """
    judged = {
        category["name"]: judged_results(
            {**ground_truth, "categories": [category], "annotations": of(ground_truth["annotations"], category)},
            of(results, category),
            skeleton,
        )
        for category in ground_truth["categories"]
    }
    scores, is_right, people = zip(*judged.values(), strict=True)
    everything = {"": (np.concatenate(scores), np.concatenate(is_right), sum(people))}
    several = judged if len(judged) > 1 else {}
    return {name: points for name, given in (everything | several).items() if (points := operating(*given))}


def judged_results(
    ground_truth: dict, results: Sequence[dict], skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores of the results that count, whether each is somebody, and how many people there are to find.

    By pycocotools: faster libraries keep no pairs.
    """
    evaluation = prepare(ground_truth, results, "keypoints", np.array(skeleton.sigmas), get_scorer())
    evaluation.params.iouThrs = np.array([FOUND])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    accumulate(evaluation)
    images = [image for image in evaluation.evalImgs if image is not None]
    counts = [~np.asarray(image["dtIgnore"][0], bool) for image in images]
    scores = [np.asarray(image["dtScores"], float)[c] for image, c in zip(images, counts, strict=True)]
    is_right = [np.asarray(image["dtMatches"][0])[c] > 0 for image, c in zip(images, counts, strict=True)]
    people = sum(int((~np.asarray(image["gtIgnore"], bool)).sum()) for image in images)
    return np.concatenate([*scores, np.zeros(0)]), np.concatenate([*is_right, np.zeros(0, bool)]), people


def operating(scores: Float[np.ndarray, " m"], is_right: Float[np.ndarray, " m"], people: int) -> Operating | None:
    """From judged results to what each threshold gives; None where nobody is found or nobody is to be found."""
    if not people or not is_right.any():
        return None
    order = np.argsort(-scores, kind="stable")
    found, reported = np.cumsum(is_right[order]), np.arange(1, len(order) + 1)
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores all are reported
    found, reported = found[last], reported[last]
    return Operating(scores[order][last], found / reported, found / people, 2 * found / (reported + people), people)


def threshold_metrics(points: dict[str, Operating]) -> dict[str, float]:
    """threshold/score, /precision, /recall, /f1, /people of all classes together; of several also
    threshold/CLASS/score ..."""
    metrics: dict[str, float] = {}
    for name, curve in points.items():
        prefix = f"threshold/{name}/" if name else "threshold/"
        at = {"precision": curve.precision, "recall": curve.recall, "f1": curve.f1}
        metrics |= {f"{prefix}score": curve.threshold} | {f"{prefix}{k}": float(x[curve.best]) for k, x in at.items()}
        metrics[f"{prefix}people"] = curve.people
    return metrics


def threshold_line(metrics: dict[str, float]) -> str:
    """A line for a terminal; "" where no threshold was found."""
    if "threshold/score" not in metrics:
        return ""
    score, precision, recall, f1 = (metrics[f"threshold/{name}"] for name in ("score", "precision", "recall", "f1"))
    return (
        f"threshold {score:.3f}: best F1 {100 * f1:.1f} (precision {100 * precision:.1f}, recall {100 * recall:.1f}) "
        f"at OKS {FOUND}"
    )
