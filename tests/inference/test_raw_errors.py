"""What users hand in by mistake is one line or works; what a process cannot do is said before it hangs."""

import copy
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.predictor import Predictor
from tests.inference.conftest import RedRectangle

ROOT = Path(__file__).parents[2]
RED = Image.new("RGB", (60, 40), (200, 0, 0))


@pytest.mark.parametrize("ids", [[7], (7, 9), np.array([7, 9]), np.array([7], np.uint8), jnp.array([7]), range(7, 9)])
def test_category_ids_are_whole_numbers_of_any_kind(predictor, ids):
    found = predictor(RED).to_coco(np.int64(3), ids)
    assert [(person["category_id"], person["image_id"]) for person in found] == [(7, 3)] * 2
    assert type(found[0]["category_id"]) is int


@pytest.mark.parametrize(
    ("image_id", "ids", "said"),
    [
        (1, [], "category_ids: 0 of them, but there are people of class 0"),
        (1, np.array([]), "category_ids: 0 of them"),
        (1, [7.0], "category_ids .7.0.: must be whole numbers"),
        (1, "7", "category_ids '7': must be whole numbers"),
        (1, 7, "category_ids 7: must be"),
        (1, {0: 7}, "category_ids {0: 7}: must be"),
        (1, np.array([[7]]), "must be whole numbers"),
        (1.5, None, "image_id .1.5.: must be"),
        ("a.jpg", None, "image_id .'a.jpg'.: must be"),
        (-1, None, "image_id -1: marks what is no picture"),
    ],
)
def test_ids_that_are_none_are_one_line(predictor, image_id, ids, said):
    with pytest.raises(UserError, match=said) as caught:
        predictor(RED).to_coco(image_id, ids)
    assert "\n" not in str(caught.value)


def test_nobody_has_no_class_and_needs_no_ids(predictor):
    assert predictor(RED, threshold=1).to_coco(category_ids=[]) == []


@pytest.mark.parametrize("name", ["config.json", "weights.npz"])
def test_a_file_in_place_of_a_run_is_one_line(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"{name}: is a file; name the folder of a run"):
        Predictor.from_checkpoint(tmp_path / name)
    with pytest.raises(UserError, match="no such file; name the folder of a run"):
        Predictor.from_checkpoint(tmp_path / name / "checkpoints")


def fresh(predictor: Predictor) -> Predictor:
    return Predictor(predictor.config, *nnx.split(RedRectangle()), predictor.skeleton)


def test_one_size_warms_up_like_a_list_of_one(predictor):
    sizes = ((128, 192), [(128, 192)], np.array([128, 192]), np.array([[128, 192]]), {(128, 192)}, iter([(128, 192)]))
    warm, asked = fresh(predictor), []
    warm._predict_batch = lambda pictures, canvas, threshold: asked.append((len(pictures), canvas))
    for given in sizes:
        asked.clear()
        warm.warm_up(given)
        assert asked == [(1, (64, 96)), (2, (64, 96))]
    asked.clear()
    warm.warm_up([])
    assert asked == []


@pytest.mark.parametrize("sizes", [480, "480x640", (480,), (480, 640, 3), [(480, -640)], [(0, 9)], (48.5, 64), [None]])
def test_sizes_that_are_none_are_one_line(predictor, sizes):
    with pytest.raises(UserError, match="^sizes .*: must be .height, width. in pixels, or several of them$"):
        predictor.warm_up(sizes)


def test_a_predictor_goes_through_a_pickle_and_a_copy(predictor):
    moved = fresh(predictor)
    nnx.update(moved.model, moved._state)
    for again in (pickle.loads(pickle.dumps(predictor)), copy.deepcopy(predictor)):
        np.testing.assert_array_equal(again(RED).boxes, predictor(RED).boxes)
        assert again.fingerprint == predictor.fingerprint
        assert len(pickle.loads(pickle.dumps(again(RED)))) == 2  # what comes back from a worker


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    names = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=names)


POOLS = """
import multiprocessing, sys, warnings
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from querypose_jax.inference.predictor import Predictor
from querypose_jax.skeletons import COCO
from tests.inference.conftest import RedRectangle

def of_the_parent(pixels):
    return len(predictor(pixels))

def of_its_own(folder):
    return len(Predictor.from_checkpoint(folder))

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    data = dict(recipe="querypose", eval_short_side=64, longest_side=128, canvases=((64, 96),))
    config = ConfigDict(dict(data=data, eval=dict(batch_size=2, canvas="ladder")))
    predictor = Predictor(config, *nnx.split(RedRectangle()), COCO)
    grey = np.zeros((64, 96, 3), np.uint8)
    predictor(grey)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for work, given in ((of_the_parent, grey), (predictor, grey), (of_its_own, "nowhere")):
            try:
                pool.apply(work, (given,))
            except ValueError as error:
                print(type(error).__name__, error)
"""


def test_a_fork_that_would_wait_for_ever_says_so():
    done = python(POOLS)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("UserError this process was forked from one that uses jax")
        assert "multiprocessing.get_context('spawn')" in line


@pytest.mark.slow
def test_a_spawned_pool_takes_a_predictor(tmp_path):
    script = tmp_path / "pool.py"
    spawned = POOLS.split("    with multi")[0] + (
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print([len(found) for found in pool.map(predictor, [grey, grey])])\n"
    )
    script.write_text(spawned)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "[2, 2]\n", done.stderr


@pytest.mark.skipif(
    bool(find_spec("jax_cuda12_plugin") or find_spec("jax_cuda13_plugin")), reason="jax knows GPUs here"
)
@pytest.mark.parametrize("platform", ["cuda", pytest.param("nonsense", marks=pytest.mark.slow)])
def test_a_platform_that_is_not_there_is_one_line(tmp_path, platform):
    code = f"""
import sys
from querypose_jax.inference.predictor import Predictor
try:
    Predictor.from_checkpoint({str(tmp_path)!r})
except ValueError as error:
    print(error)
import launch
sys.exit(launch.main(["launch.py", "--config=tests/tiny_run.py", "--workdir={tmp_path / "run"}"]))
"""
    done = python(code, JAX_PLATFORMS=platform)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"JAX_PLATFORMS={platform}: jax finds no such device; unset it")
    assert f"error: JAX_PLATFORMS={platform}: jax finds no such device; unset it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("folder", [None, 7, b"run", ["run"]])
def test_a_run_that_has_no_name_is_one_line(folder):
    with pytest.raises(UserError, match=r"^folder .*: name the folder of a run$"):
        Predictor.from_checkpoint(folder)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((64, 96, 3)), "^image: array of shape .* and dtype float64: need RGB pixels"),
        (np.zeros((5, 7, 3), np.uint8), "^image: is 7 x 5 pixels, the picture of the people 96 x 64$"),
    ],
)
def test_an_image_that_cannot_be_drawn_on_is_one_line(predictor, image, said):
    with pytest.raises(UserError, match=said):
        predictor(np.zeros((64, 96, 3), np.uint8)).draw(image)
