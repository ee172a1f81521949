"""Pictures of any size -> a batch of one canvas size."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from querypose_jax.recipes.canvas import place_on_canvas
from querypose_jax.recipes.recipe import Recipe
from querypose_jax.structures import FILLER_ID, Batch


def inference_batch(
    pictures: Sequence[Image.Image],
    canvas: tuple[int, int],
    recipe: Recipe,
    data: ConfigDict,
    num_keypoints: int,
    batch_size: int | None = None,
) -> Batch:
    """Pictures as an evaluation would see them; there are no people on them yet (G = 1, padding).

    Args:
        pictures: RGB, at least one; each must fit on the canvas after resizing.
        canvas: height, width, network pixels.
        recipe: of `config.data`.
        data: `config.data`, which the recipe reads.
        num_keypoints: K.
        batch_size: B; filler pictures (copies of the last one, image_id FILLER_ID) complete it. None: no fillers.

    Returns:
        A numpy Batch whose image_id counts the pictures from 0.
    """
    fillers = (batch_size or len(pictures)) - len(pictures)
    sizes = np.array([(picture.height, picture.width) for picture in pictures])
    geometry = recipe.rest_geometry(sizes, data)
    images = [place_on_canvas(recipe.transform_picture(p, geometry.at(i)), *canvas) for i, p in enumerate(pictures)]
    geometry = geometry.at(np.minimum(np.arange(len(pictures) + fillers), len(pictures) - 1))
    return Batch(
        image=np.stack(images + images[-1:] * fillers),
        valid_size=geometry.final,
        orig_size=geometry.original,
        image_id=np.array([*range(len(pictures)), *[FILLER_ID] * fillers], np.int32),
        inv_affine=recipe.inverse_affine(geometry),
        **empty_people(len(pictures) + fillers, 1, num_keypoints),
    )


def empty_people(batch_size: int, slots: int, num_keypoints: int) -> dict[str, np.ndarray]:
    """The people fields of a `Batch` without people: B x G rows of padding."""
    return {
        "boxes": np.zeros((batch_size, slots, 4), np.float32),
        "keypoints": np.zeros((batch_size, slots, num_keypoints, 3), np.float32),
        "area": np.zeros((batch_size, slots), np.float32),
        "label": np.zeros((batch_size, slots), np.int32),
        "is_person": np.zeros((batch_size, slots), bool),
    }
