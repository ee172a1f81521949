"""What the tables time: one batch of pictures of a canvas, with people on them, drawn and not read; and the floor."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from querypose_jax.bench.timing import take_turns
from querypose_jax.budget import choose_budget
from querypose_jax.structures import Batch

COPIED = 2**27  # bytes copied to measure memory
PEAK = "one large matrix product"
PEAK_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}  # of the product that stands for the machine's peak


def drawn_batch(
    canvas: tuple[int, int], pictures: int, people: int, keypoints: int, people_ladder: tuple[int, ...] | None = None
) -> Batch:
    """Random pixels and `people` random people on each picture; numbers do not change what a step costs.

    Args:
        canvas: height, width, network pixels; the pictures fill it.
        pictures: B.
        people: real people of each picture, G.
        keypoints: K.
        people_ladder: training; None for inference.
    """
    rng = np.random.default_rng(0)
    height, width = canvas
    corner = rng.uniform(0, 0.6, (pictures, people, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.4, corner.shape) * (width, height)], -1)
    inside = rng.uniform(0, 1, (pictures, people, keypoints, 2))
    xy = boxes[:, :, None, :2] + inside * (boxes[:, :, None, 2:] - boxes[:, :, None, :2])
    size = np.tile(np.array(canvas, np.int32), (pictures, 1))
    counts = np.full(pictures, people)
    return Batch(
        image=rng.integers(0, 256, (pictures, height, width, 3), np.uint8),
        valid_size=size,
        orig_size=size,
        image_id=np.arange(pictures, dtype=np.int32),
        inv_affine=np.tile(np.array([[1, 0, 0], [0, 1, 0]], np.float32), (pictures, 1, 1)),
        boxes=boxes.astype(np.float32),
        keypoints=np.concatenate([xy, np.full((*xy.shape[:-1], 1), 2)], -1).astype(np.float32),
        area=(boxes[..., 2:] - boxes[..., :2]).prod(-1).astype(np.float32),
        label=np.zeros((pictures, people), np.int32),
        is_person=np.ones((pictures, people), bool),
        person_scale=np.sqrt((boxes[..., 2:] - boxes[..., :2]).prod(-1)).astype(np.float32),
        budget=choose_budget(counts, 1, people_ladder) if people_ladder else None,
    )


def copy_speed() -> float:
    """Bytes a second of a large copy, read and written ones counted."""
    block = jnp.zeros(COPIED // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return 2 * COPIED / take_turns({"copy": lambda: copy(block).block_until_ready()}, 5)["copy"].median


def product_flops() -> float:
    """FLOPs of the large matrix product."""
    return 2.0 * PEAK_SIDE[jax.default_backend()] ** 3


def large_product(dtype: str) -> Callable[[], object]:
    """A candidate that takes turns with the others: its speed at that time is what the floors divide by."""
    side = PEAK_SIDE[jax.default_backend()]
    a, b = (jnp.ones((side, side), dtype) for _ in range(2))
    product = jax.jit(lambda a, b: a @ b)
    return lambda: product(a, b).block_until_ready()
