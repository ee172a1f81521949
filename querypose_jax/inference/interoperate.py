"""People as the types of other libraries."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from querypose_jax.errors import UserError


def supervision_types(
    scores: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    boxes: Float[np.ndarray, "n 4"],
    keypoints: Float[np.ndarray, "n K 2"],
    keypoint_scores: Float[np.ndarray, "n K"],
    tracks: Int[np.ndarray, " n"] | None,
) -> tuple[Any, Any]:
    """(`supervision.KeyPoints`, `supervision.Detections`) of the same n people.

    Raises:
        UserError: the package is not installed.
    """
    try:
        import supervision
    except ModuleNotFoundError:
        raise UserError("supervision is not installed; pip install '.[track]' in the clone") from None
    class_id, confidence = np.asarray(labels, int), np.asarray(scores, np.float32)
    points = supervision.KeyPoints(
        xy=np.asarray(keypoints, np.float32),
        keypoint_confidence=np.asarray(keypoint_scores, np.float32),
        detection_confidence=confidence,
        class_id=class_id,
    )
    people = supervision.Detections(
        xyxy=np.asarray(boxes, np.float32),
        confidence=confidence,
        class_id=class_id,
        tracker_id=None if tracks is None else np.asarray(tracks, int),
    )
    return points, people
