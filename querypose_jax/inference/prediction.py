"""What a user gets for one picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.draw import draw_poses
from querypose_jax.inference.interoperate import supervision_types
from querypose_jax.inference.results import to_coco_results, whole_numbers
from querypose_jax.inference.sources import open_picture
from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import FILLER_ID, Poses


@dataclass(frozen=True)
class Prediction:
    """The n people found on one picture, best first. Original pixels, continuous (0.5 is a pixel's centre)."""

    picture: Image.Image
    """The picture itself, RGB."""
    skeleton: Skeleton
    """Names and edges of the K keypoints."""
    scores: Float[np.ndarray, " n"]
    """From 0 to 1, descending."""
    labels: Int[np.ndarray, " n"]
    """Class index from 0."""
    boxes: Float[np.ndarray, "n 4"]
    """xyxy."""
    keypoints: Float[np.ndarray, "n K 2"]
    """x, y; they may lie outside the picture."""
    keypoint_scores: Float[np.ndarray, "n K"]
    """From 0 to 1."""
    name: str = ""
    """Path of the picture, where it came from a file."""
    spread: Float[np.ndarray, "n K 2"] | None = None
    """Predicted scale of the error of x and y; None where the model does not tell."""
    tracks: Int[np.ndarray, " n"] | None = None
    """The same number for the same person in all frames of a video, -1 for none; None where nobody is followed."""

    def __len__(self) -> int:
        return len(self.scores)

    def draw(
        self, image: Image.Image | np.ndarray | None = None, boxes: bool = True, spread: bool = True
    ) -> Image.Image:
        """A copy of the picture (or of `image`, of the same size) with the people drawn on it.

        Args:
            image: what to draw on, of the picture's size.
            boxes: draws boxes with scores (and numbers, where people are followed).
            spread: draws an ellipse around each joint that is uncertain.

        Raises:
            UserError: the image is none, or of another size.
        """
        canvas = self.picture if image is None else open_picture(image, "image")[1]
        if canvas.size != self.picture.size:
            wanted = " x ".join(map(str, self.picture.size))
            raise UserError(f"image: is {canvas.width} x {canvas.height} pixels, the picture of the people {wanted}")
        return draw_poses(
            canvas,
            self.boxes if boxes else None,
            self.keypoints,
            self.keypoint_scores,
            self.scores,
            self.skeleton,
            spread=self.spread if spread else None,
            labels=self._labels(),
        )

    def _labels(self) -> list[str]:
        tracks = [-1] * len(self) if self.tracks is None else self.tracks
        return [
            f"{score:.2f}" if track < 0 else f"#{track} {score:.2f}"
            for score, track in zip(self.scores, tracks, strict=True)
        ]

    def with_tracks(self, tracks: Int[np.ndarray, " n"]) -> "Prediction":
        """The same people with their numbers."""
        return replace(self, tracks=tracks)

    def to_coco(self, image_id: int = 1, category_ids: Sequence[int] | None = None) -> list[dict]:
        """COCO results, see `to_coco_results`; category_ids: those of class 0, 1, ...; None counts them from 1.

        Raises:
            UserError: ids that are no whole numbers, fewer than there are classes, or the id that marks no picture.
        """
        classes = int(self.labels.max(initial=-1)) + 1
        [image_id] = whole_numbers("image_id", [image_id])
        if image_id == FILLER_ID:
            raise UserError(f"image_id {FILLER_ID}: marks what is no picture; give another one")
        if category_ids is None:
            category_ids = range(1, classes + 1)
        category_ids = whole_numbers("category_ids", category_ids)
        if len(category_ids) < classes:
            raise UserError(f"category_ids: {len(category_ids)} of them, but there are people of class {classes - 1}")
        fields = (self.scores, self.labels, np.ones(len(self), bool), self.boxes, self.keypoints, self.keypoint_scores)
        return to_coco_results(Poses(*(field[None] for field in fields)), [image_id], category_ids)

    def to_supervision(self) -> tuple[Any, Any]:
        """(`supervision.KeyPoints`, `supervision.Detections`) of the same people in the same order; numbers of people
        who are followed are the detections' `tracker_id`.

        Raises:
            UserError: the package supervision (extra `track`) is not installed.
        """
        fields = self.scores, self.labels, self.boxes, self.keypoints, self.keypoint_scores, self.tracks
        return supervision_types(*fields)

    def to_rows(self) -> list[dict[str, str | int | float]]:
        """One flat dict per person, as rows of a table (of pandas, say): picture, person, label, score, track where
        people are followed, x0 .. y1, nose_x, nose_y, ..., nose_score, ..."""
        rows = []
        for person in range(len(self)):
            row: dict[str, str | int | float] = {"picture": self.name, "person": person}
            row |= {"label": int(self.labels[person]), "score": float(self.scores[person])}
            row |= {} if self.tracks is None else {"track": int(self.tracks[person])}
            row |= dict(zip(("x0", "y0", "x1", "y1"), self.boxes[person].tolist(), strict=True))
            for joint, (x, y) in zip(self.skeleton.names, self.keypoints[person].tolist(), strict=True):
                row |= {f"{joint}_x": x, f"{joint}_y": y}
            names = (f"{joint}_score" for joint in self.skeleton.names)
            row |= dict(zip(names, self.keypoint_scores[person].tolist(), strict=True))
            rows.append(row)
        return rows


def prediction_from_poses(
    poses: Poses, picture: Image.Image, skeleton: Skeleton, threshold: float, name: str = ""
) -> Prediction:
    """Keeps the valid people of one picture (numpy, no leading B) with score >= threshold and sorts them."""
    order = np.argsort(-poses.scores, kind="stable")
    kept = order[(poses.valid & (poses.scores >= threshold))[order]]
    return Prediction(
        picture=picture,
        skeleton=skeleton,
        scores=poses.scores[kept],
        labels=poses.labels[kept],
        boxes=poses.boxes[kept],
        keypoints=poses.keypoints[kept],
        keypoint_scores=poses.keypoint_scores[kept],
        name=name,
        spread=None if poses.spread is None else poses.spread[kept],
    )
