"""One rule for canvases; pictures at their top left."""

import numpy as np
from PIL import Image

from querypose_jax.pictures import choose_canvas, place_on_canvas

LADDER = ((512, 864), (608, 800), (864, 512), (1344, 1344))


def test_canvas_is_the_smallest_that_holds_the_picture():
    assert choose_canvas(500, 790, LADDER) == (512, 864)
    assert choose_canvas(513, 790, LADDER) == (608, 800)
    assert choose_canvas(800, 500, LADDER) == (864, 512)
    assert choose_canvas(1000, 1000, LADDER) == (1344, 1344)


def test_canvas_beyond_the_ladder_is_the_next_multiple_of_32():
    assert choose_canvas(1345, 100, LADDER) == (1376, 128)
    assert choose_canvas(64, 33, ()) == (64, 64)


def test_exact_canvas_is_the_next_multiple_of_32_whatever_the_ladder_holds():
    assert choose_canvas(500, 790, LADDER, exact=True) == (512, 800)


def test_a_picture_lies_at_the_top_left_and_the_rest_is_zero():
    canvas = place_on_canvas(Image.new("RGB", (3, 2), (7, 8, 9)), 4, 5)
    assert canvas.shape == (4, 5, 3)
    assert (canvas[:2, :3] == (7, 8, 9)).all()
    assert canvas.sum() == 2 * 3 * (7 + 8 + 9)
    assert canvas.dtype == np.uint8
