"""A picture goes the same way into training, evaluation and prediction, whatever its recipe, and comes back."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from configs import querypose, synthetic_tiny
from input_pipeline import loader
from querypose_jax.evaluation.runner import original_picture
from querypose_jax.inference.batching import inference_batch
from querypose_jax.pictures import read_picture
from querypose_jax.recipes import RECIPES, get_recipe
from querypose_jax.recipes.canvas import choose_canvas
from querypose_jax.structures import FILLER_ID, Batch


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A configuration whose validation split is six drawn pictures."""
    config = synthetic_tiny.get_config()
    config.data.prepared = str(tmp_path_factory.mktemp("data"))
    config.data.synthetic.update(train_pictures=1, val_pictures=6, height=150, width=201)
    config.data.update(canvases=((160, 224), (192, 192)), eval_short_side=131, longest_side=190)
    config.eval.batch_size = 2
    return config


@pytest.mark.parametrize("canvas", ["ladder", "exact"])
@pytest.mark.parametrize("name", RECIPES)
def test_prediction_and_evaluation_of_a_picture_are_the_same_to_the_byte(drawn, name, canvas):
    drawn.data.recipe, drawn.eval.canvas = name, canvas
    recipe, split = get_recipe(name), loader.open_split(drawn, "val")
    seen = 0
    for batch in loader.eval_batches(drawn, split, shards=1):
        for b, image_id in enumerate(batch.image_id.tolist()):
            if image_id == FILLER_ID:
                continue
            picture = read_picture(split.read(split.annotations.image_id.tolist().index(image_id)))
            size = recipe.rest_geometry(np.array([(picture.height, picture.width)]), drawn.data).final[0].tolist()
            chosen = choose_canvas(*size, recipe.canvases(drawn.data), recipe.canvas_step, canvas == "exact")
            predicted = inference_batch([picture], chosen, recipe, drawn.data, split.skeleton.num_keypoints)
            for field in ("image", "valid_size", "orig_size", "inv_affine"):
                ours, theirs = getattr(batch, field)[b], getattr(predicted, field)[0]
                np.testing.assert_array_equal(ours, theirs, err_msg=field)
            seen += 1
    assert seen == 6


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "affine"])  # it warps: never a resize to the bit
def test_training_without_chance_is_evaluation(drawn, name):
    config = drawn.copy_and_resolve_references()
    config.data.update(recipe=name, flip=0.0, crop=0.0, short_sides=(131,), batch_size=1, block_batches=12)
    split = loader.open_split(config, "val")
    trained = {int(b.image_id[0]): b for b in loader.train_batches(config, split, start_step=0, shards=1, stop_step=48)}
    for batch in loader.eval_batches(config, split, shards=2):
        for b, image_id in enumerate(batch.image_id.tolist()):
            if image_id != FILLER_ID:
                for field in (f.name for f in dataclasses.fields(Batch) if f.name not in ("budget", "loss_mask")):
                    if getattr(batch, field) is not None and field != "image":
                        np.testing.assert_array_equal(getattr(batch, field)[b], getattr(trained[image_id], field)[0])


def test_a_picture_comes_back_from_anywhere_on_its_canvas():
    """Shifted and scaled on its canvas, as a recipe that centres pictures would lay it."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[8:12, 20:28] = 255
    canvas = np.full((1, 128, 160, 3), 99, np.uint8)
    canvas[0, 24:104, 20:140] = np.asarray(Image.fromarray(pixels).resize((120, 80), Image.Resampling.NEAREST))
    batch = Batch(
        image=canvas,
        valid_size=np.array([[128, 160]]),
        orig_size=np.array([[40, 60]]),
        image_id=np.array([1]),
        inv_affine=np.array([[[0.5, 0, -10], [0, 0.5, -12]]], np.float32),
        **dict.fromkeys(("boxes", "keypoints", "area", "label", "is_person")),
    )
    back = np.asarray(original_picture(batch, 0))
    assert back.shape == pixels.shape
    np.testing.assert_array_equal(back[9:11, 21:27], 255)
    assert back.mean() == pytest.approx(pixels.mean(), rel=0.01), "nothing of the border bleeds in"


def test_an_unknown_recipe_is_one_line():
    with pytest.raises(Exception, match="config.data.recipe='cake' is unknown; known: querypose, detr, affine"):
        get_recipe("cake")
    assert get_recipe(querypose.get_config().data.recipe) is RECIPES["querypose"]
