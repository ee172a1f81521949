"""A QueryPose, small and untrained, from a folder on disk to files with poses."""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from configs import synthetic_tiny
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.errors import UserError
from querypose_jax.inference.files import predict_files
from querypose_jax.inference.predictor import Predictor
from querypose_jax.models.registry import build_model


@pytest.fixture(scope="module")
def config():
    config = synthetic_tiny.get_config()
    config.model.update(
        stages=1, num_proposals=4, proposal_grid=(2, 2), dim=32, part_dim=32, pose_convs=1, flow_couplings=2
    )
    config.model.backbone.width = 32
    return config


def random_model(config) -> tuple[nnx.GraphDef, nnx.State]:
    """Weights drawn by numpy, which is many times faster than the model's own initialisers."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        value = rng.normal(0, 0.05, leaf.shape)
        return (0.5 + abs(value) if "var" in name or "proposal_boxes" in name else value).astype(leaf.dtype)

    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: build_model(config, rngs=nnx.Rngs(0))))
    return graphdef, jax.tree_util.tree_map_with_path(draw, shapes)


def test_model_on_disk_gives_the_poses_of_the_model_in_memory(config, tmp_path):
    graphdef, state = random_model(config)
    save_model(tmp_path / "run", config, state)
    loaded = Predictor.from_checkpoint(tmp_path / "run")
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    ours, theirs = (
        predictor(picture, threshold=0) for predictor in (Predictor(config, graphdef, state, loaded.skeleton), loaded)
    )
    assert len(ours) > 0
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-3)
    np.testing.assert_allclose(theirs.keypoints, ours.keypoints, atol=1e-3)
    assert (ours.boxes >= 0).all()
    assert (ours.boxes <= (320, 240, 320, 240)).all()

    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in" / "noise.png")
    assert predict_files(loaded, str(tmp_path / "in"), str(tmp_path / "out"), threshold=0, progress=False) == 1
    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [person["score"] for person in people] == pytest.approx(ours.scores.tolist(), rel=1e-4)


def test_folder_without_a_checkpoint_is_one_line(tmp_path):
    with pytest.raises(UserError) as caught:
        Predictor.from_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_predictor_computes_in_the_precision_that_is_asked_for(config, tmp_path):
    _, state = random_model(config)
    save_model(tmp_path / "run", config, state)
    picture = np.random.default_rng(0).integers(0, 255, (160, 192, 3), np.uint8)
    full, half = (Predictor.from_checkpoint(tmp_path / "run", dtype=dtype) for dtype in (None, "bfloat16"))
    assert (full.model.dtype, half.model.dtype) == (np.float32, "bfloat16")
    boxes = [predictor(picture, threshold=0).boxes for predictor in (full, half)]
    assert 0 < np.abs(boxes[0] - boxes[1]).max() < 10  # pixels
    with pytest.raises(UserError, match="dtype 'float16' is unknown; known: float32, bfloat16"):
        Predictor.from_checkpoint(tmp_path / "run", dtype="float16")
