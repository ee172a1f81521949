"""The pictures of an evaluation that went worst and best, drawn beside their labels."""

import heapq
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from querypose_jax.inference.compare import Found, Labelled, draw_comparison, labelled_people, picture_quality
from querypose_jax.pictures import write_jpeg
from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import Poses

WORST, BEST = "worst", "best"


class Shown(NamedTuple):
    """What is kept of a picture until the evaluation ends."""

    image_id: int
    picture: Image.Image
    found: Found
    labelled: Labelled


class Gallery:
    """Takes every picture of an evaluation and remembers a few; memory does not grow with the number of pictures.

    Ranked by `picture_quality`, which looks at one picture with one threshold. AP does neither, so that a picture
    may cost AP that looks well here.
    """

    def __init__(self, ground_truth: dict, skeleton: Skeleton, count: int, threshold: float):
        """
        Args:
            ground_truth: COCO annotations.
            skeleton: the keypoints of model and annotations.
            count: number of pictures remembered at either end.
            threshold: smallest score of a person that counts as predicted.
        """
        self.skeleton, self.count, self.threshold = skeleton, count, threshold
        self._people: dict[int, list[dict]] = {}
        for person in ground_truth["annotations"]:
            self._people.setdefault(person["image_id"], []).append(person)
        self._worst: list[tuple[float, int, Shown]] = []  # heaps: the picture that leaves next comes first
        self._best: list[tuple[float, int, Shown]] = []

    def add(self, image_id: int, picture: Callable[[], Image.Image], poses: Poses) -> None:
        """Looks at the poses (numpy, leading 1) of one picture; `picture()` gives it at its original size if wanted."""
        labelled = labelled_people(self._people.get(image_id, []), self.skeleton.num_keypoints)
        kept = poses.valid[0]
        found = Found(*(f[0][kept] for f in (poses.scores, poses.boxes, poses.keypoints, poses.keypoint_scores)))
        quality = picture_quality(found, labelled, self.skeleton, self.threshold)
        ranked = [(heap, (rank, -image_id)) for heap, rank in ((self._worst, -quality), (self._best, quality))]
        entered = [(heap, rank) for heap, rank in ranked if len(heap) < self.count or rank > heap[0][:2]]
        if entered:
            shown = Shown(image_id, picture(), found, labelled)
        for heap, rank in entered:
            heapq.heappush(heap, (*rank, shown))
            if len(heap) > self.count:
                heapq.heappop(heap)

    def write(self, folder: Path) -> None:
        """Writes folder/worst/RANK_ID.jpg, from the worst one on, and folder/best/RANK_ID.jpg, from the best one on.

        Where there are few pictures, those among the worst are not shown among the best again.
        """
        worst = [shown for *_, shown in sorted(self._worst, reverse=True)]
        named = {shown.image_id for shown in worst}
        best = [shown for *_, shown in sorted(self._best, reverse=True) if shown.image_id not in named]
        for name, pictures in ((WORST, worst), (BEST, best)):
            for path in (folder / name).glob("*.jpg"):
                path.unlink()  # of an earlier evaluation of this step
            for rank, shown in enumerate(pictures, start=1):
                sheet = draw_comparison(shown.picture, shown.found, shown.labelled, self.skeleton, self.threshold)
                write_jpeg(folder / name / f"{rank:02d}_{shown.image_id}.jpg", sheet)
