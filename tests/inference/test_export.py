"""What is exported gives the poses of the model, in a process that has jax and numpy and nothing else of ours."""

import json

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from configs.simplepose import synthetic_tiny as simplepose_tiny
from querypose_jax.errors import UserError
from querypose_jax.inference.export import export_model
from querypose_jax.inference.exported import Exported, fitted, lay, network_size, resize
from querypose_jax.inference.predictor import Predictor
from querypose_jax.recipes.affine import RECIPE as AFFINE
from querypose_jax.recipes.resize import resized_shape
from querypose_jax.skeletons import COCO
from tests.inference.other_process import found_without
from tests.models.small_model import small_config, small_model
from tests.models.test_simplepose import loud_model
from tests.models.test_simplepose import small_config as simplepose_small

BLOCKED = ("flax", "orbax", "tensorflow", "ml_collections", "PIL", "querypose_jax", "kernels")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    config = small_config(stages=1)
    config.data.update(eval_short_side=64, longest_side=96, canvases=((64, 96), (96, 64)))
    return Predictor(config, *nnx.split(small_model(stages=1)), COCO)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), np.uint8) for size in ((120, 160), (160, 120), (90, 130))]


@pytest.mark.slow
def test_a_fresh_process_without_flax_gives_the_same_poses(predictor, pictures, tmp_path):
    folder = export_model(
        predictor, tmp_path / "exported", [(64, 96), (96, 64)], (1, 2), ("cpu", "tpu"), progress=False
    )
    for picture, found in zip(pictures, found_without(BLOCKED, folder, pictures, tmp_path), strict=True):
        ours = predictor(picture, threshold=0)
        assert len(found["scores"]) == len(ours) > 3
        np.testing.assert_allclose(found["scores"], ours.scores, rtol=1e-4)
        np.testing.assert_allclose(found["boxes"], ours.boxes, atol=1e-2)
        np.testing.assert_allclose(found["keypoints"], ours.keypoints, atol=1e-2)
    about = json.loads((folder / "about.json").read_text())
    assert len(about["programs"]) == 4
    assert about["platforms"] == ["cpu", "tpu"]


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (10, 21), (301, 200)])
def test_the_loader_resizes_as_pillow_does(pictures, size):
    for picture in pictures:
        along_rows = resize(picture, picture.shape[0], size[1])
        by_pillow = Image.fromarray(picture).resize((size[1], picture.shape[0]), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(along_rows, np.asarray(by_pillow))
        by_pillow = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)
        assert np.abs(resize(picture, *size).astype(int) - np.asarray(by_pillow)).max() <= 1


def test_the_loader_knows_the_rule_of_the_sizes():
    rng = np.random.default_rng(0)
    for height, width in rng.integers(20, 3000, (200, 2)).tolist():
        assert network_size(height, width, 800, 1333) == resized_shape(height, width, 800, 1333)


@pytest.mark.parametrize("rule", ["long", "height"])
def test_the_loader_places_pictures_as_the_recipe_affine_does(rule):
    data = simplepose_tiny.get_config().data
    data.update(eval_resize=rule, eval_length=160, eval_multiple=32)
    sizes = np.random.default_rng(0).integers(20, 3000, (200, 2))
    geometry = AFFINE.rest_geometry(sizes, data)
    back = AFFINE.inverse_affine(geometry)
    for i, (height, width) in enumerate(sizes.tolist()):
        place = fitted(height, width, rule, 160, 32)
        assert place.resized == tuple(geometry.resized[i]) and place.corner == tuple(geometry.corner[i])
        assert place.size == tuple(geometry.final[i])
        np.testing.assert_allclose(place.inverse, back[i], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("rule", ["long", "height"])
def test_the_loader_draws_pictures_as_the_recipe_affine_does(pictures, rule):
    data = simplepose_tiny.get_config().data
    data.update(eval_resize=rule, eval_length=96, eval_multiple=32)
    for picture in pictures:
        place = fitted(*picture.shape[:2], rule, 96, 32)
        canvas = np.zeros((*place.size, 3), np.uint8)
        lay(canvas, picture, place, is_cubic=True)
        geometry = AFFINE.rest_geometry(np.array([picture.shape[:2]]), data).at(0)
        np.testing.assert_array_equal(canvas, np.asarray(AFFINE.transform_picture(Image.fromarray(picture), geometry)))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["long", "height"])
def test_an_exported_simplepose_gives_the_poses_of_the_model(pictures, tmp_path, rule):
    config = simplepose_small()
    config.data.update(eval_resize=rule, eval_length=64, eval_multiple=32)
    config.model.decode.update(heatmap_threshold=0.5, person_threshold=0.0)
    predictor = Predictor(config, *nnx.split(loud_model(config)), COCO)
    folder = export_model(predictor, tmp_path / "exported", platforms=("cpu",), progress=False)
    about = json.loads((folder / "about.json").read_text())
    assert about["canvases"] == ([[64, 64]] if rule == "long" else [[64, 32], [64, 64], [64, 96], [64, 128]])
    exported = Exported(folder)
    for picture in pictures:
        ours, found = predictor(picture, threshold=0), exported(picture, threshold=0)
        assert len(found["scores"]) == len(ours) > 0
        np.testing.assert_allclose(found["scores"], ours.scores, rtol=1e-4)
        np.testing.assert_allclose(found["keypoints"], ours.keypoints, atol=1e-2)


def test_an_earlier_export_of_either_format_is_replaced_whole(predictor, tmp_path):
    for name in (
        "about.json",
        "weights.npz",
        "weights.bin",
        "program_1x9x9.onnx",
        "program_1x9x9.stablehlo",
        "mine.txt",
    ):
        (tmp_path / name).write_text("old")
    export_model(predictor, tmp_path, [(64, 96)], platforms=("cpu",), progress=False)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"about.json", "weights.npz", "program_1x64x96.stablehlo", "exported.py", "mine.txt"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(canvases=[(64, 90)]), r"canvas \(64, 90\) must be height, width in multiples of 32"),
        (dict(batch_sizes=(0,)), "batch sizes from 1 on"),
        (dict(platforms=("gpu",)), "platform 'gpu' is unknown; known: cpu, cuda, tpu"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(predictor, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        export_model(predictor, tmp_path / "exported", progress=False, **arguments)
    assert not (tmp_path / "exported").exists()
