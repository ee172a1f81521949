"""The people of a video, frame by frame."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from PIL import Image

from querypose_jax.inference.fitting import fit_picture, fit_prediction
from querypose_jax.inference.prediction import Prediction
from querypose_jax.inference.smoothing import Smoother
from querypose_jax.inference.video import Frame, Video


def predict_frames(
    stream: Callable[[Iterator[Any], float], Iterator[Prediction]],
    video: Video,
    threshold: float,
    track: bool = False,
    earlier: Iterable[Callable[[Image.Image], Prediction]] = (),
    smoother: Smoother | None = None,
) -> Iterator[tuple[Frame, Prediction]]:
    """Each frame with its people, lazily; memory holds a few batches.

    A film may change its size midway. People are found in a frame's own pixels; picture and people are then fitted
    into the size of the first frame, see `fit_prediction`, so that all coordinates of a film are of one kind.

    Args:
        stream: (pictures, threshold) -> their predictions, in order, as `Predictor.stream`.
        video: an open one.
        threshold: smallest score of a reported person.
        track: gives people numbers that last over frames; needs the package trackers.
        earlier: the people of the first frames, where they are known, see `FilmLines`.
        smoother: of the joints; only people who are followed are smoothed.
    """
    waiting: deque[Frame] = deque()

    def pictures() -> Iterator[Any]:
        for frame in video.frames:
            waiting.append(frame)
            yield frame.picture

    tracker, size = None, None
    if track:
        from querypose_jax.inference.tracking import Tracker  # imports an optional package

        tracker = Tracker(video.rate, threshold)
    for known, frame in zip(earlier, video.frames, strict=False):
        size = size or frame.picture.size
        prediction = known(fit_picture(frame.picture, size)[0])
        if tracker:
            tracker.update(prediction)
        yield frame._replace(picture=prediction.picture), prediction
    for prediction in stream(pictures(), threshold):
        size = size or prediction.picture.size
        prediction = fit_prediction(prediction, size)
        if tracker:
            prediction = prediction.with_tracks(tracker.update(prediction))
        frame = waiting.popleft()._replace(picture=prediction.picture)
        if smoother and prediction.tracks is not None:
            prediction = smoother.update(prediction, frame.seconds)
        yield frame, prediction
