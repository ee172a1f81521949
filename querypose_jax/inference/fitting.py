"""A film has one size, its frames may not: what is found on a frame of another size, told in that of the film."""

from dataclasses import replace

import numpy as np
from PIL import Image

from querypose_jax.inference.prediction import Prediction


def fit_prediction(prediction: Prediction, size: tuple[int, int]) -> Prediction:
    """The picture as large as fits into `size` (width, height), in the middle of black, its people with it."""
    picture = prediction.picture
    if picture.size == size:
        return prediction
    factor = min(size[0] / picture.width, size[1] / picture.height)
    shown = max(round(picture.width * factor), 1), max(round(picture.height * factor), 1)
    corner = (size[0] - shown[0]) // 2, (size[1] - shown[1]) // 2
    film = Image.new("RGB", size)
    film.paste(picture.resize(shown, Image.Resampling.BICUBIC), corner)
    scale, offset = np.divide(shown, picture.size, dtype=np.float32), np.asarray(corner, np.float32)
    return replace(
        prediction,
        picture=film,
        boxes=prediction.boxes * np.tile(scale, 2) + np.tile(offset, 2),
        keypoints=prediction.keypoints * scale + offset,
        spread=None if prediction.spread is None else prediction.spread * scale,
    )
