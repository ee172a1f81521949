"""A key that nobody reads and a value of another type cost one line before anything starts."""

import importlib
from pathlib import Path

import pytest

import configs
from configs import synthetic_tiny
from querypose_jax.configuration.check_keys import check_keys
from querypose_jax.errors import UserError
from tests import tiny_run

SHIPPED = sorted(
    path.stem for path in Path(configs.__file__).parent.glob("*.py") if path.stem not in ("__init__", "common")
)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_pass(name):
    check_keys(importlib.import_module(f"configs.{name}").get_config())
    check_keys(tiny_run.get_config())


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("train", "num_stepz", 3, r"train.num_stepz is no known key, did you mean config.train.num_steps; configs/"),
        (
            "train",
            "learning_rate",
            3.0,
            r"train.learning_rate is no known key, did you mean config.optimizer.learning_",
        ),
        ("eval", "sparkle", 1, r"eval.sparkle is no known key; configs/common.py and configs.querypose list them"),
        ("train", "num_steps", "many", r"train.num_steps='many' must be a whole number, as in 140000"),
        ("train", "num_steps", 1.5, r"train.num_steps=1.5 must be a whole number"),
        ("train", "num_steps", True, r"train.num_steps=True must be a whole number"),
        ("model", "light", 1, r"model.light=1 must be True or False"),
        ("optimizer", "clip_norm", "1", r"optimizer.clip_norm='1' must be a number"),
        ("data", "short_sides", 160, r"data.short_sides=160 must be a tuple"),
        ("data", "short_sides", (160, "200"), r"data.short_sides=\(160, '200'\) must be a tuple"),
        ("data", "canvases", (160, 192), r"data.canvases=\(160, 192\) must be a tuple"),
    ],
)
def test_a_wrong_key_or_type_is_named_with_what_is_meant(group, key, value, message):
    config = synthetic_tiny.get_config()
    with config.ignore_type():
        config[group][key] = value
    with pytest.raises(UserError, match=rf"^config\.{message}") as caught:
        check_keys(config)
    assert "\n" not in str(caught.value)


def test_whole_numbers_do_for_numbers_and_free_groups_are_left_alone():
    config = synthetic_tiny.get_config()
    with config.ignore_type():
        config.optimizer.clip_norm = 1
    config.data.synthetic.anything = "goes"
    check_keys(config)
