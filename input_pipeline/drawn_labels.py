"""Training pictures as the network gets them, with their labels drawn: the way to see an augmentation or a mistake."""

import itertools
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from input_pipeline.loader import open_split, train_batches
from querypose_jax.pictures import write_jpeg
from querypose_jax.recipes import get_recipe
from querypose_jax.sides import plain
from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import Batch

LEFT, RIGHT, MIDDLE, BOX = (38, 139, 255), (255, 122, 26), (90, 220, 130), (255, 255, 255)
SHORT_SIDE = 480  # pixels; smaller pictures are enlarged to about this, so that labels can be told apart
DOT = 1 / 160  # radius, of the short side of the drawn picture


def draw_training_pictures(config: ConfigDict, count: int, folder: Path, shards: int = 1) -> list[str]:
    """Writes the first `count` pictures of training, STEP_ROW_IMAGEID.jpg; returns their names.

    Raises:
        UserError: training could not open the data either.
    """
    split = open_split(config, config.data.train_split)
    names: list[str] = []
    for step, batch in enumerate(train_batches(config, split, start_step=0, shards=shards)):
        for row in itertools.takewhile(lambda _: len(names) < count, range(len(batch.image_id))):
            names.append(f"{step:03d}_{row:02d}_{batch.image_id[row]}.jpg")
            write_jpeg(folder / names[-1], drawn_row(batch, row, config, split.skeleton, split.classes))
        if len(names) >= count:
            return names
    return names


def drawn_row(batch: Batch, row: int, config: ConfigDict, skeleton: Skeleton, classes: tuple[str, ...]) -> Image.Image:
    """One picture of a batch without its padding, its people on it."""
    height, width = batch.valid_size[row].tolist()
    factor = max(round(SHORT_SIDE / min(height, width)), 1)
    picture = Image.fromarray(batch.image[row, :height, :width])
    picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    centre = 0.5 - get_recipe(config.data.recipe).half_pixel  # of a pixel, from the recipe's coordinates
    for person in np.flatnonzero(batch.is_person[row]):
        x0, y0, x1, y1 = (batch.boxes[row, person] * factor).tolist()
        pen.rectangle([x0, y0, x1 - 1, y1 - 1], outline=BOX)
        pen.text((x0 + 3, y0 + 2), f"{person} {classes[batch.label[row, person]]}", fill=BOX)
        joints = batch.keypoints[row, person]
        draw_joints(pen, (joints[:, :2] + centre) * factor, joints[:, 2], skeleton, DOT * min(picture.size))
    return picture


def draw_joints(
    pen: ImageDraw.ImageDraw, xy: np.ndarray, visibility: np.ndarray, skeleton: Skeleton, dot: float
) -> None:
    """Bones between labelled joints [K, 2] and a dot for each: full where visible, a ring where hidden. Left is blue,
    right orange. `dot` is a radius in pixels."""
    thin = max(round(dot / 2), 1)
    for a, b in skeleton.edges:
        if visibility[a] > 0 and visibility[b] > 0:
            pen.line([*xy[a], *xy[b]], fill=colour(skeleton.names[a], skeleton.names[b]), width=thin)
    for name, (x, y), seen in zip(skeleton.names, xy.tolist(), visibility.tolist(), strict=True):
        if seen > 0:
            place = [x - dot, y - dot, x + dot, y + dot]
            pen.ellipse(place, fill=colour(name) if seen > 1 else None, outline=colour(name), width=thin)


def colour(*names: str) -> tuple[int, int, int]:
    """Of a joint, or of a bone between two of one side."""
    for side, value in (("left", LEFT), ("right", RIGHT)):
        if all(plain(name).startswith(side) for name in names):
            return value
    return MIDDLE
