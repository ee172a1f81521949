"""Pictures of any size -> a batch of one canvas size."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from querypose_jax.pictures import place_on_canvas, resize, resized_shape
from querypose_jax.structures import FILLER_ID, Batch


def inference_batch(
    pictures: Sequence[Image.Image],
    canvas: tuple[int, int],
    short_side: int,
    longest_side: int,
    num_keypoints: int,
    batch_size: int | None = None,
) -> Batch:
    """Resizes RGB pictures and lays them on canvases; there are no people on them yet (G = 1, padding).

    Args:
        pictures: at least one; each must fit on the canvas after resizing.
        canvas: height, width, network pixels.
        short_side, longest_side: the resize rule of `resized_shape`, network pixels.
        num_keypoints: K.
        batch_size: B; filler pictures (copies of the last one, image_id FILLER_ID) complete it. None: no fillers.

    Returns:
        A numpy Batch whose image_id counts the pictures from 0.
    """
    fillers = (batch_size or len(pictures)) - len(pictures)
    orig = [(picture.height, picture.width) for picture in pictures]
    valid = [resized_shape(*size, short_side, longest_side) for size in orig]
    images = [place_on_canvas(resize(p, *size), *canvas) for p, size in zip(pictures, valid, strict=True)]
    valid_size, orig_size = (np.array(sizes + sizes[-1:] * fillers, np.int32) for sizes in (valid, orig))
    inv_affine = np.zeros((len(valid_size), 2, 3), np.float32)
    inv_affine[:, (1, 0), (1, 0)] = orig_size / valid_size
    return Batch(
        image=np.stack(images + images[-1:] * fillers),
        valid_size=valid_size,
        orig_size=orig_size,
        image_id=np.array([*range(len(pictures)), *[FILLER_ID] * fillers], np.int32),
        inv_affine=inv_affine,
        **empty_people(len(valid_size), 1, num_keypoints),
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
