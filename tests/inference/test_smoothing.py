"""The One-Euro filter over followed people: what rests is calmed, what moves keeps up, and the lag is told."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from querypose_jax.inference.prediction import Prediction
from querypose_jax.inference.smoothing import REST_CUTOFF, SPEED_CUTOFF, SPEED_GAIN, Smoother, lag_s, weight
from querypose_jax.skeletons import COCO

PICTURE = Image.new("RGB", (8, 8))
RATE = 25


def seen(keypoints: np.ndarray, tracks=(0,), size: float = 100.0) -> Prediction:
    """People [n, K, 2] with their numbers and boxes of this size."""
    n = len(keypoints)
    boxes = np.tile(np.array([0.0, 0, size, size]), (n, 1))
    ones = np.ones((n, 17), np.float32)
    fields = np.ones(n), np.zeros(n, int), boxes, keypoints.astype(np.float32), ones
    return Prediction(PICTURE, COCO, *fields, tracks=np.array(tracks))


def test_the_filter_is_the_one_of_the_paper_worked_out_by_hand():
    smoother, xs = Smoother(), [0.0, 10.0, 10.0]
    expected, speed = xs[0], 0.0
    for frame, x in enumerate(xs):
        found = smoother.update(seen(np.full((1, 17, 2), x)), frame / RATE).keypoints[0, 0, 0]
        if frame:
            a = 1 / (1 + RATE / (2 * math.pi * SPEED_CUTOFF))
            speed += a * ((x - xs[frame - 1]) * RATE - speed)
            cutoff = REST_CUTOFF + SPEED_GAIN * abs(speed) * math.sqrt(2) / 100
            expected += (x - expected) / (1 + RATE / (2 * math.pi * cutoff))
        assert found == pytest.approx(expected, rel=1e-5)


def test_weights_are_those_of_a_low_pass_filter():
    assert weight(1.0, lag_s(1.0)) == pytest.approx(0.5)
    assert lag_s(1.0) == pytest.approx(0.159, abs=1e-3)


def test_trembling_gets_less_and_the_told_lag_is_the_measured_one():
    rng, smoother = np.random.default_rng(0), Smoother()
    noise = rng.normal(0, 1, (200, 1, 17, 2))
    found = np.stack([smoother.update(seen(50 + n), i / RATE).keypoints for i, n in enumerate(noise)])
    assert found[50:].std() < 0.5 * noise.std()

    smoother, speed = Smoother(), 30.0  # pixels per second along x
    for i in range(200):
        x = np.tile(np.array([speed * i / RATE, 0.0]), (1, 17, 1))
        last = smoother.update(seen(x), i / RATE).keypoints[0, 0, 0]
    cutoff = REST_CUTOFF + SPEED_GAIN * speed / 100
    assert (speed * 199 / RATE - last) / speed == pytest.approx(lag_s(cutoff), rel=0.02)
    assert smoother.lag_s == pytest.approx(lag_s(cutoff), rel=0.1)


def test_people_do_not_mix_and_who_was_away_or_has_no_number_stays_as_found():
    smoother = Smoother()
    two = np.stack([np.zeros((17, 2)), np.full((17, 2), 100.0)])
    smoother.update(seen(two, (0, 1)), 0.0)
    swapped = smoother.update(seen(two[::-1], (1, 0)), 0.04)
    np.testing.assert_array_equal(swapped.keypoints, two[::-1])
    unknown = smoother.update(seen(two + 7, (-1, 5)), 0.08)
    np.testing.assert_array_equal(unknown.keypoints, two + 7)
    back = smoother.update(seen(two + 9, (0, 1)), 3.0)
    np.testing.assert_array_equal(back.keypoints, two + 9)
    assert replace(back, keypoints=two).keypoints is two and len(back) == 2


def test_a_clock_that_goes_back_begins_anew():
    smoother = Smoother()
    smoother.update(seen(np.zeros((1, 17, 2))), 1.0)
    np.testing.assert_array_equal(smoother.update(seen(np.ones((1, 17, 2))), 0.5).keypoints, 1)
