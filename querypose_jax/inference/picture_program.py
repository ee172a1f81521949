"""What every exported program takes and gives, whatever its format."""

import jax
import jax.numpy as jnp

from querypose_jax.inference.batching import empty_people
from querypose_jax.structures import Batch

FIELDS = ("scores", "labels", "valid", "boxes", "keypoints", "keypoint_scores")


def picture_batch(
    image: jax.Array, valid_size: jax.Array, orig_size: jax.Array, inv_affine: jax.Array, *, num_keypoints: int
) -> Batch:
    """A `Batch` of pictures without people from what an exported program is given (traced)."""
    count = image.shape[0]
    return Batch(
        image=image,
        valid_size=valid_size,
        orig_size=orig_size,
        image_id=jnp.arange(count, dtype=jnp.int32),
        inv_affine=inv_affine,
        **empty_people(count, 1, num_keypoints),
    )
