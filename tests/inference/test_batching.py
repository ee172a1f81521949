import numpy as np
from PIL import Image

from configs import querypose
from querypose_jax.inference.batching import inference_batch
from querypose_jax.recipes import get_recipe
from querypose_jax.structures import FILLER_ID


def test_batch_maps_network_pixels_to_original_pixels_and_marks_fillers():
    pictures = [Image.new("RGB", (300, 200), (10, 20, 30)), Image.new("RGB", (100, 100), (200, 0, 0))]
    data = querypose.get_config().data
    data.update(eval_short_side=100, longest_side=1000)
    batch = inference_batch(pictures, (128, 160), get_recipe(data.recipe), data, num_keypoints=14, batch_size=4)
    assert batch.image.shape == (4, 128, 160, 3)
    assert batch.image.dtype == np.uint8
    assert batch.valid_size.tolist() == [[100, 150], [100, 100], [100, 100], [100, 100]]
    assert batch.orig_size.tolist() == [[200, 300], [100, 100], [100, 100], [100, 100]]
    assert batch.image_id.tolist() == [0, 1, FILLER_ID, FILLER_ID]
    corner = batch.inv_affine @ np.array([150.0, 100.0, 1.0])
    assert corner[0].tolist() == [300.0, 200.0]
    assert (batch.image[0, :100, :150] == (10, 20, 30)).all()
    assert not batch.image[0, 100:].any()
    assert batch.keypoints.shape == (4, 1, 14, 3)
    assert not batch.is_person.any()
