"""OKS and who is who, on numbers worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from querypose_jax.inference.compare import (
    NOBODY,
    Found,
    Labelled,
    assign,
    draw_comparison,
    labelled_people,
    object_keypoint_similarity,
    picture_quality,
)
from querypose_jax.skeletons import COCO

K = COCO.num_keypoints
AREA = 900.0


def people(*centres: float) -> np.ndarray:
    """A person around each centre, [n, K, 2]."""
    steps = np.linspace(-15, 15, K)
    return np.array([[(c + s, 50 + s) for s in steps] for c in centres]).reshape(-1, K, 2)


def labelled(*centres: float) -> Labelled:
    keypoints = people(*centres)
    boxes = np.concatenate([keypoints.min(1), keypoints.max(1)], -1) if centres else np.zeros((0, 4))
    return Labelled(
        boxes, np.concatenate([keypoints, np.full((len(centres), K, 1), 2.0)], -1), np.full(len(centres), AREA)
    )


def found(*centres: float, scores: tuple[float, ...] | None = None) -> Found:
    keypoints = people(*centres)
    boxes = labelled(*centres).boxes
    return Found(np.array(scores or [0.9] * len(centres)), boxes, keypoints, np.full((len(centres), K), 0.8))


def test_oks_is_that_of_the_definition_and_counts_labelled_joints_only():
    truth = labelled(50)
    truth.keypoints[0, 3:, 2] = 0  # three joints are labelled
    moved = people(50)
    moved[0, 0, 0] += 4
    moved[0, 5:] += 1000
    by_hand = (np.exp(-16 / (2 * (2 * COCO.sigmas[0]) ** 2 * AREA)) + 1 + 1) / 3
    assert object_keypoint_similarity(moved, truth, COCO)[0, 0] == pytest.approx(by_hand)


def test_confident_predictions_choose_first_and_nobody_is_taken_twice():
    similarity = np.array([[0.9, 0.2], [0.95, 0.8], [0.05, 0.05]])
    assert assign(np.array([0.8, 0.5, 0.9]), similarity).tolist() == [0, 1]
    assert assign(np.array([0.5, 0.8, 0.9]), similarity).tolist() == [1, 0]
    assert assign(np.zeros(0), np.zeros((0, 2))).tolist() == [NOBODY, NOBODY]


def test_quality_falls_with_misses_and_with_predictions_of_nobody():
    def quality(predicted: Found, truth: Labelled) -> float:
        return picture_quality(predicted, truth, COCO, threshold=0.3)

    assert quality(found(50, 150), labelled(50, 150)) == pytest.approx(1)
    assert quality(found(50), labelled(50, 150)) == pytest.approx(0.5)
    assert quality(found(50, 150, 300), labelled(50, 150)) == pytest.approx(2 / 3)
    assert quality(found(50, 150, 300, scores=(0.9, 0.9, 0.1)), labelled(50, 150)) == pytest.approx(1)
    assert quality(found(), labelled(50)) == 0
    assert quality(found(), labelled()) == 1


def test_annotations_become_corners_and_continuous_joints_without_crowds():
    person = {"bbox": [10, 20, 30, 40], "keypoints": [5, 6, 2] + [0, 0, 0] * (K - 1), "area": 700.0}
    truth = labelled_people([person | {"iscrowd": 0}, person | {"iscrowd": 1}], K)
    assert truth.boxes.tolist() == [[10, 20, 40, 60]]
    assert truth.keypoints[0, 0].tolist() == [5.5, 6.5, 2]
    assert truth.keypoints[0, 1].tolist() == [0, 0, 0]
    assert labelled_people([], K).keypoints.shape == (0, K, 3)


def test_comparison_shows_both_and_small_pictures_large():
    picture = Image.new("RGB", (200, 100), (128, 128, 128))
    both = draw_comparison(picture, found(50), labelled(50, 150), COCO, 0.3)
    assert both.width > 2 * 480
    alone = draw_comparison(picture, found(50), labelled(50), COCO, 0.3)
    left, right = (slice(0, both.width // 2), slice(both.width // 2, None))
    changed = np.asarray(both).astype(int) != np.asarray(alone)
    assert changed[:, left].any()  # the second labelled person
    assert not changed[:, right].any()  # whom the prediction does not know


def test_comparison_of_nobody_with_nobody_is_two_plain_pictures():
    sheet = draw_comparison(Image.new("RGB", (500, 300), (128, 128, 128)), found(), labelled(), COCO, 0.3)
    grey = (np.asarray(sheet) == 128).all(-1)
    assert grey.sum() == 2 * 500 * 300
