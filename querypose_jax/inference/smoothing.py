"""Joints that tremble less over the frames of a video: the One-Euro filter (Casiez, Roussel, Vogel, CHI 2012).

A low-pass filter whose cutoff rises with speed: what rests is smoothed much, what moves little, so that it lags little.
Speed is counted in sizes of the person per second, so that neither the size of the film nor of the people matters.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from querypose_jax.inference.prediction import Prediction

REST_CUTOFF = 1.0  # Hz, of a joint at rest
SPEED_GAIN = 5.0  # Hz more for each size of the person (square root of the box's area) per second
SPEED_CUTOFF = 1.0  # Hz, of the speed itself, as in the paper
FORGOTTEN_S = 1.0  # a person out of sight for longer begins anew


class Past(NamedTuple):
    """A person when last seen."""

    seconds: float
    keypoints: np.ndarray
    """[K, 2], smoothed, pixels."""
    measured: np.ndarray
    """[K, 2], as found."""
    speed: np.ndarray
    """[K, 2], smoothed, pixels per second."""


class Smoother:
    """Smooths joints of people who are followed (`Prediction.tracks`); frames are handed in one after the other."""

    def __init__(self) -> None:
        self._past: dict[int, Past] = {}
        self._lags: list[float] = [0.0, 0.0]  # sum of all joints' lags in seconds, and their number

    @property
    def lag_s(self) -> float:
        """Seconds by which smoothed joints are behind on average; 0 before there are any."""
        return self._lags[0] / max(self._lags[1], 1)

    def update(self, prediction: Prediction, seconds: float) -> Prediction:
        """The people of the next frame with smoothed joints. Who is seen for the first time or has no number stays."""
        keypoints = np.array(prediction.keypoints, np.float64)
        for person, track in enumerate(prediction.tracks.tolist()):
            if track < 0:
                continue
            past, measured = self._past.get(track), keypoints[person]
            if past is None or not 0 < seconds - past.seconds <= FORGOTTEN_S:
                self._past[track] = Past(seconds, measured.copy(), measured.copy(), np.zeros_like(measured))
                continue
            x0, y0, x1, y1 = prediction.boxes[person].tolist()
            size = max(math.sqrt(max((x1 - x0) * (y1 - y0), 0)), 1.0)
            now = self._moved(past, measured, seconds, size)
            self._past[track], keypoints[person] = now, now.keypoints
        self._past = {t: past for t, past in self._past.items() if seconds - past.seconds <= FORGOTTEN_S}
        return replace(prediction, keypoints=keypoints.astype(prediction.keypoints.dtype))

    def _moved(self, past: Past, measured: np.ndarray, seconds: float, size: float) -> Past:
        step = seconds - past.seconds
        speed = past.speed + weight(SPEED_CUTOFF, step) * ((measured - past.measured) / step - past.speed)
        cutoff = REST_CUTOFF + SPEED_GAIN * np.linalg.norm(speed, axis=-1, keepdims=True) / size
        self._lags[0] += float(lag_s(cutoff).sum())
        self._lags[1] += cutoff.size
        smoothed = past.keypoints + weight(cutoff, step) * (measured - past.keypoints)
        return Past(seconds, smoothed, measured.copy(), speed)


def lag_s(cutoff: Any) -> Any:
    """Seconds by which a first-order low-pass filter is behind what moves evenly: its time constant. The cutoff, in Hz,
    is a number or an array."""
    return 1 / (2 * math.pi * cutoff)


def weight(cutoff: Any, step: float) -> Any:
    """Of what is measured, after `step` seconds; a number or an array, as the cutoff is."""
    return step / (step + lag_s(cutoff))
