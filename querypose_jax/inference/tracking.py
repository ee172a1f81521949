"""The same number for the same person from frame to frame: ByteTrack (Zhang et al., ECCV 2022) on the boxes.

The tracker is that of the `trackers` package (optional): boxes are predicted by Kalman filters and assigned by
overlap, first the confident ones, then the others.
"""

from fractions import Fraction

import numpy as np
from jaxtyping import Int

from querypose_jax.errors import UserError
from querypose_jax.inference.prediction import Prediction

LOST_SECONDS = 1.0  # a person out of sight for longer comes back under another number
NO_TRACK = -1  # of people whom no track has taken up (yet)


class Tracker:
    """Follows the people of one video; frames are handed in one after the other."""

    def __init__(self, rate: Fraction, confident: float):
        """
        Args:
            rate: frames per second.
            confident: score from which a person may begin a new track.

        Raises:
            UserError: the package is not installed.
        """
        try:
            from trackers import ByteTrackTracker
        except ModuleNotFoundError:
            raise UserError(
                "people are followed by the package trackers, which is missing; pip install '.[track]' in the clone"
            ) from None
        self._tracker = ByteTrackTracker(
            lost_track_buffer=max(round(LOST_SECONDS * float(rate)), 1),
            frame_rate=float(rate),
            track_activation_threshold=confident,
            high_conf_det_threshold=confident,
            minimum_consecutive_frames=1,
        )

    def update(self, prediction: Prediction) -> Int[np.ndarray, " n"]:
        """The number of each person of the next frame, from 0 on, or NO_TRACK: as in the first frame of a person, who
        is numbered once seen again."""
        import supervision

        # Boxes as they are written: a film that goes on from its lines gets the numbers of one never interrupted.
        written = np.array([person["bbox"] for person in prediction.to_coco()]).reshape(-1, 4)
        people = supervision.Detections(
            xyxy=np.concatenate([written[:, :2], written[:, :2] + written[:, 2:]], -1).astype(np.float32),
            confidence=np.asarray(prediction.scores, np.float32),
            data={"person": np.arange(len(prediction))},
        )
        tracked = self._tracker.update(people)
        numbers = np.full(len(prediction), NO_TRACK)
        numbers[tracked.data.get("person", np.zeros(0, int))] = tracked.tracker_id
        return numbers
