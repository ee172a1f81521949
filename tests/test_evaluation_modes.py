"""What --mode=eval does beside the evaluation of training: other splits, mirrored pictures, the file for the server."""

import json
import zipfile

import numpy as np
import pytest
from flax import nnx
from PIL import Image

import launch
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.models.registry import build_model
from tests import tiny_run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.eval.scorer=fast", "config.eval.scorer='fast' is unknown; known: pycocotools, faster_coco_eval"),
        ("--config.eval.split=test-dev", "'test-dev' is no split of a data set; known: train, val"),
    ],
)
def test_an_unknown_scorer_and_split_are_one_line_before_anything_is_predicted(change, message, tmp_path, capsys):
    config = tiny_run.get_config()
    save_model(tmp_path / "run", config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))
    arguments = ["--mode=eval", f"--workdir={tmp_path / 'run'}", f"--config.data.prepared={tmp_path}/data", change]
    assert launch.main(["launch.py", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_test_dev_becomes_the_zip_that_the_server_takes(tmp_path, capsys):
    root, rng = tmp_path / "coco", np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    (root / "test2017").mkdir()
    images = [dict(id=i, file_name=f"{i}.jpg", height=100, width=120) for i in (3, 1)]
    for image in images:
        Image.fromarray(rng.integers(0, 256, (100, 120, 3), np.uint8)).save(root / "test2017" / image["file_name"])
    content = dict(images=images, categories=[dict(id=2, name="bicycle"), dict(id=1, name="person")])
    (root / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(content))
    config = tiny_run.get_config()
    config.data.update(name="coco", root=str(root), prepared=str(tmp_path / "prepared"))
    save_model(tmp_path / "run", config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))

    arguments = ["--mode=eval", f"--workdir={tmp_path / 'run'}", "--config.eval.split=test-dev"]
    assert launch.main(["launch.py", *arguments]) == 0
    [path] = (tmp_path / "run" / "eval").glob("*/test-dev/*.zip")
    assert str(path) in capsys.readouterr().out
    with zipfile.ZipFile(path) as archive:
        people = json.loads(archive.read("person_keypoints_test-dev2017_querypose_results.json"))
    assert {person["image_id"] for person in people} == {1, 3}
    assert {person["category_id"] for person in people} == {1}
    assert not (path.parent / "metrics.json").exists()
