import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import coco_r50, synthetic_tiny
from configs.simplepose import coco_hourglass104
from querypose_jax.devices.sharding import make_mesh
from querypose_jax.errors import UserError
from querypose_jax.planning import plan
from querypose_jax.planning.advice import total_bytes
from querypose_jax.runs.plan import MAKERS
from tests import tiny_run

ROOT = Path(__file__).parent.parent.parent
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def test_canvases_are_the_largest_that_pictures_take():
    config = coco_r50.get_config()
    height, width = plan.largest_canvas(config, 800, exact=False)
    assert height * width == 800 * 1344  # never the canvas that holds whatever may come
    assert plan.largest_canvas(synthetic_tiny.get_config(), 160, exact=False) == (160, 192)
    assert np.prod(plan.largest_canvas(coco_r50.get_config(), 480, exact=True)) < 800 * 1344


def test_training_may_have_another_canvas_than_evaluation_and_masks():
    config = coco_hourglass104.get_config()
    assert plan.training_canvas(config) == (512, 512)
    assert plan.largest_canvas(config, config.data.eval_short_side, exact=False) == (640, 640)
    assert plan.training_canvas(coco_r50.get_config()) == plan.largest_canvas(coco_r50.get_config(), 800, exact=False)
    mesh = make_mesh(ConfigDict({"data": 1, "fsdp": 1}), jax.devices()[:1])
    batch = plan.abstract_batch(config, mesh, 2, (512, 512), None, has_masks=True)
    assert batch.loss_mask.shape == (2, 128, 128) and batch.person_scale.shape == (2, 30)
    assert plan.abstract_batch(config, mesh, 2, (512, 512), None).loss_mask is None


def test_the_memory_of_an_unknown_chip_must_be_given():
    assert plan.hbm_gib("v5e:4x8") == 15.75
    with pytest.raises(UserError, match="--config.plan.hbm_gib"):
        plan.hbm_gib("v9:4x8")


def test_a_missing_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install libtpu"):
        plan.topology_devices("v5e:2x4")


@pytest.mark.slow
@needs_libtpu
def test_a_plan_for_a_slice_is_printed_without_workdir_and_data(tmp_path):
    command = ["launch.py", "--config=tests/tiny_run.py", "--mode=plan", "--topology=v5e:2x4"]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "compiling eval, " in done.stderr and "train, replicated, 2 a chip: " in done.stderr
    assert "v5e:2x4, 8 chips, 15.75 GiB each" in done.stdout
    [messages] = {line.split("all-reduce")[1].split()[0] for line in done.stdout.splitlines() if "train," in line}
    _, state = MAKERS.state(tiny_run.get_config())
    assert float(messages) == pytest.approx(total_bytes(state.params) / 1e6, rel=0.1)  # gradients, nothing else
    assert "all-gather" not in done.stdout


@needs_libtpu
def test_the_compiler_says_what_a_program_would_need_that_does_not_fit():
    """A slice that is not there, and an argument of 20 GiB for a chip of 16."""
    program = """
import jax, jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
from querypose_jax.planning import plan
chip = plan.topology_devices("v5e:2x4")[0]
shape = jax.ShapeDtypeStruct((20, 1024, 1024, 1024), jnp.int8, sharding=SingleDeviceSharding(chip))
found = plan.compile_all({"sum": lambda: jax.jit(lambda x: x + 1).lower(shape).compile()})["sum"]
assert 39 <= found.memory / 2**30 <= 41, found
assert found.available / 2**30 == plan.hbm_gib("v5e:2x4"), found
print(len(plan.topology_devices("v4:2x2x1")), "chips")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "too much" in done.stderr
    assert done.stdout == "4 chips\n"
