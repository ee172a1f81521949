"""Every config of the library is valid, and its variants are what their names say."""

import importlib
from pathlib import Path

import pytest

from configs import ablations
from querypose_jax import command_line
from querypose_jax.configuration.check_config import check_config
from querypose_jax.configuration.check_keys import check_keys
from querypose_jax.configuration.flat import flat

CONFIGS = sorted(
    path for path in Path("configs").glob("*.py") if path.name not in ("__init__.py", "common.py", "querypose.py")
)


def load(argument: str):
    configs = []

    def keep(options) -> None:
        configs.append(options.config)

    assert command_line.run(keep, "", lambda **values: None, ["launch.py", f"--config={argument}"]) == 0
    return configs[0]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_passes_the_checks_and_shows_its_command(path):
    check_config(load(str(path)))
    assert f"--config={path}" in path.read_text().split('"""')[1]


@pytest.mark.parametrize("name", ["r50", "r101", "hrnet_w32", "hrnet_w48", "swin_t", "swin_b", "swin_l"])
def test_light_and_full_are_variants_and_the_default_is_the_released_one(name):
    path = f"configs/coco_{name}.py"
    assert load(f"{path}:light").model.light and not load(f"{path}:full").model.light
    assert load(path).model.light == (name == "hrnet_w32")


@pytest.mark.parametrize(
    ("name", "milestones", "steps"),
    [
        ("r50", (110_000, 130_000), 140_000),
        ("hrnet_w32", (220_000, 260_000), 280_000),
        ("hrnet_w48", (220_000, 260_000), 280_000),
        ("swin_l", (220_000, 260_000), 280_000),
        ("swin_t", (210_000, 250_000), 270_000),
        ("swin_b", (210_000, 250_000), 270_000),
    ],
)
def test_schedules_are_the_released_ones(name, milestones, steps):
    config = load(f"configs/coco_{name}.py")
    tens = tuple(zip(milestones, (0.1, 0.01), strict=True))  # the release divides by ten at each
    assert (config.optimizer.milestones, config.train.num_steps) == (tens, steps)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("configs/coco_r50.py:small", "variant 'small' is unknown; known: light, full"),
        ("configs/ablations.py:iteration=sum", "variant 'iteration=sum' is unknown; known: default, query=iq_mhsa, "),
        ("configs/ablations_tiny.py:light", "variant 'light' is unknown; known: default, query=iq_mhsa, "),
        ("configs/synthetic_tiny.py:light", "this config file has no variants; leave out what follows the colon"),
    ],
)
def test_a_variant_that_does_not_exist_is_one_line(argument, message, capsys):
    code = command_line.run(print, "", lambda **values: None, ["launch.py", f"--config={argument}"])
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1 and "Traceback" not in error


# What a group of variants may change beside its own keys.
ALONGSIDE = {"query": ("model.part_dim", "model.light"), "modules": ("model.part_dim",), "feedback": ("model.light",)}


@pytest.mark.parametrize("name", ["ablations", "ablations_tiny"])
def test_every_ablation_is_valid_and_changes_what_it_names_alone(name):
    module = importlib.import_module(f"configs.{name}")
    default = flat(load(f"configs/{name}.py"))
    for variant, changes in ablations.VARIANTS.items():
        config = module.get_config(variant)
        check_config(config)
        check_keys(config)
        values = flat(config)
        differing = {key for key in values if values[key] != default[key]}
        assert differing <= {*changes, *ALONGSIDE.get(variant.split("_")[0].split("=")[0], ())}
    assert load(f"configs/{name}.py:iteration=none").model.iteration == "none"


def test_ablations_are_variants_of_the_released_resnet_50():
    assert load("configs/ablations.py").to_dict() == load("configs/coco_r50.py").to_dict()
