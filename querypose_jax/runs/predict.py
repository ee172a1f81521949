"""The verb predict: people on pictures or videos of the user's own; needs no tensorflow."""

from pathlib import Path

from ml_collections import ConfigDict

from querypose_jax.checkpoints.origin import in_words
from querypose_jax.inference.predict_input import predict_input
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.threshold import checked_threshold


def predict(
    config: ConfigDict,
    workdir: Path,
    step: int | None,
    raw: bool,
    source: str,
    output: str,
    threshold: float | None,
    track: bool,
    smooth: bool,
) -> str:
    """Writes drawn poses and results into `output`; returns what was done in a line. See `predict_input`."""
    if threshold is not None:
        threshold = checked_threshold(threshold)  # before a checkpoint is read
    predictor = Predictor.from_checkpoint(workdir, step, config, raw=raw)
    if predictor.origin:
        print(in_words(predictor.origin, "weights"))
    if threshold is None:
        print(predictor.threshold.line())
    return predict_input(predictor, source, output, threshold, track, smooth)
