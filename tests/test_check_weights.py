"""What scripts/check_weights.py prints of an evaluation beside what was published. Nothing is evaluated here."""

import pytest

from querypose_jax.models.registry import get_family, names
from scripts import check_weights


def test_a_size_of_which_nobody_is_there_has_a_dash_and_other_metrics_are_left_out():
    """COCO's -1 stands for no value: as a percentage it reads like a result."""
    metrics = {"keypoint/AP": 0.123, "keypoint/APl": -1.0, "keypoint/AR": 0.5, "box/AP": 0.4, "threshold/f1": 0.3}
    lines = check_weights.comparison(metrics, "Published: AP 71.7")
    assert lines == "Here: AP 12.3, APl -\nPublished: AP 71.7"
    assert check_weights.comparison(metrics, "").endswith("\nPublished: nothing is known of this file")


RELEASED = [released for family in names() if (weights := get_family(family).weights) for released in weights.released]


@pytest.mark.parametrize("name", sorted({released.name for released in RELEASED}))
def test_what_is_published_of_a_checkpoint_says_so_once(name):
    """It is a paragraph of its configuration, or nothing (QueryPose's ResNet-101)."""
    said = check_weights.published_paragraph(name)
    assert said.count("Published") == (0 if "ResNet-101" in name or "R-101" in name else 1)
