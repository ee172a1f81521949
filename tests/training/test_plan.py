import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import coco_r50, synthetic_tiny
from querypose_jax.errors import UserError
from querypose_jax.training import plan
from tests import tiny_run

ROOT = Path(__file__).parent.parent.parent
MESH = jax.sharding.AbstractMesh((1, 8), ("data", "fsdp"))


def test_memory_is_a_straight_line_through_what_was_compiled():
    rule = plan.line("replicated", {1: 700, 3: 1100})
    assert (rule.at_no_picture, rule.per_picture) == (500, 200)
    assert rule.largest_batch(1299) == 3
    assert rule.largest_batch(1300) == 4
    assert rule.largest_batch(100) == 0


def test_canvases_are_the_largest_that_pictures_take():
    config = coco_r50.get_config()
    height, width = plan.largest_canvas(config, 800, exact=False)
    assert height * width == 800 * 1344  # never the canvas that holds whatever may come
    assert plan.largest_canvas(synthetic_tiny.get_config(), 160, exact=False) == (160, 192)


def test_splitting_saves_what_the_shapes_say():
    _, state = plan.abstract_state(synthetic_tiny.get_config())
    parameters = sum(x.size * 4 for x in jax.tree.leaves(state.params))
    assert plan.total_bytes(state.params) == parameters
    share = plan.split_bytes(state.params, MESH)
    assert parameters / 8 < share < parameters / 6  # small arrays stay whole
    rules = plan.by_arithmetic(plan.Rule("replicated", 1e9, 5.0), state, MESH)
    moments = plan.total_bytes(state.opt_state) - plan.split_bytes(state.opt_state, MESH)
    assert rules["replicated"].at_no_picture == 1e9
    assert rules["zero1"].at_no_picture == 1e9 - moments
    assert 1e9 - moments - parameters < rules["fsdp"].at_no_picture < 1e9 - moments
    assert {rule.per_picture for rule in rules.values()} == {5.0}


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [((10, 8, 6), "take replicated"), ((20, 8, 6), "take zero1: --config.mesh.fsdp=8"), ((20, 20, 6), "take fsdp")],
)
def test_the_first_rule_that_fits_is_taken(sizes, taken):
    rules = [plan.Rule(name, size, 1.0) for name, size in zip(plan.sharding.RULES, sizes, strict=True)]
    text = plan.advice(rules, hbm=12, batch_size=16, chips=8, split=8)
    assert text.strip().startswith(taken)
    assert "does not fit" in plan.advice(rules, hbm=5, batch_size=16, chips=8, split=8)
    assert "does not split over 32 chips" in plan.advice(rules, hbm=12, batch_size=16, chips=32, split=8)


def test_the_memory_of_an_unknown_chip_must_be_given():
    assert plan.hbm_gib("v5e:4x8") == 16
    with pytest.raises(UserError, match="--config.plan.hbm_gib"):
        plan.hbm_gib("v9:4x8")


def test_a_missing_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install libtpu"):
        plan.topology_devices("v5e:2x4")


def test_tables_are_aligned():
    lines = plan.table([("a", "long name"), ("longer", "b")]).splitlines()
    assert lines == ["a       long name", "longer  b"]
    assert np.prod(plan.largest_canvas(coco_r50.get_config(), 480, exact=True)) < 800 * 1344


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_a_plan_for_a_slice_is_printed_without_workdir_and_data(tmp_path):
    command = ["launch.py", "--config=tests/tiny_run.py", "--mode=plan", "--topology=v5e:2x4"]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "compiling eval, " in done.stderr and "train, replicated, 2 a chip: " in done.stderr
    assert "v5e:2x4, 8 chips, 16 GiB each" in done.stdout
    [messages] = {line.split("all-reduce")[1].split()[0] for line in done.stdout.splitlines() if "train," in line}
    _, state = plan.abstract_state(tiny_run.get_config())
    assert float(messages) == pytest.approx(plan.total_bytes(state.params) / 1e6, rel=0.1)  # gradients, nothing else
    assert "all-gather" not in done.stdout
