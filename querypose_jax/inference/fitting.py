"""A film has one size, its frames may not: what is found on a frame of another size, told in that of the film."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from PIL import Image

from querypose_jax.inference.prediction import Prediction


def fit_prediction(prediction: Prediction, size: tuple[int, int]) -> Prediction:
    """The picture as large as fits into `size` (width, height), in the middle of black, its people with it."""
    if prediction.picture.size == size:
        return prediction
    film, scale, offset = fit_picture(prediction.picture, size)
    return replace(
        prediction,
        picture=film,
        boxes=prediction.boxes * np.tile(scale, 2) + np.tile(offset, 2),
        keypoints=prediction.keypoints * scale + offset,
        spread=None if prediction.spread is None else prediction.spread * scale,
    )


def fit_picture(
    picture: Image.Image, size: tuple[int, int]
) -> tuple[Image.Image, Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """The picture in the middle of black, and factor and shift (x, y) from its pixels to those of the result."""
    factor = min(size[0] / picture.width, size[1] / picture.height)
    shown = max(round(picture.width * factor), 1), max(round(picture.height * factor), 1)
    corner = (size[0] - shown[0]) // 2, (size[1] - shown[1]) // 2
    film = Image.new("RGB", size)
    film.paste(picture.resize(shown, Image.Resampling.BICUBIC), corner)
    return film, np.divide(shown, picture.size, dtype=np.float32), np.asarray(corner, np.float32)
