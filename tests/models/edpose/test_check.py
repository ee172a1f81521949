"""A configuration of ED-Pose that does not fit together is answered in one line."""

import importlib

import pytest

from querypose_jax.errors import UserError
from querypose_jax.models.edpose.check import check

CONFIGS = (
    "coco_r50", "coco_swin_l", "coco_swin_l_5scale", "crowdpose_r50", "crowdpose_swin_l", "crowdpose_swin_l_5scale",
    "human_art_r50", "synthetic_tiny",
)  # fmt: skip


def config_of(name: str):
    return importlib.import_module(f"configs.edpose.{name}").get_config()


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configurations_fit(name):
    check(config_of(name))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("heads", 7, "config.model.dim=256 must be a multiple of model.heads=7"),
        ("box_layers", 6, "config.model.box_layers=6 must be less than model.decoder_layers=6: joints need a layer"),
        ("box_layers", 0, "config.model.box_layers=0 must be positive"),
        ("num_instances", 901, "config.model.num_instances=901 is more than model.num_queries=900"),
        ("num_instances", 50, "config.data.max_people=100 is more than model.num_instances=50: keep at most 50 people"),
        ("denoising.queries", 20, "config.data.max_people=100 is more than model.denoising.queries=20: keep at most"),
        ("denoising.labels", 1, "config.model.denoising.labels=1 must be at least 2"),
        ("denoising.label_noise", 1.5, "config.model.denoising.label_noise=1.5 must be from 0 to 1"),
        ("loss.pictures_per_group", 0, "config.model.loss.pictures_per_group=0 must be positive"),
    ],
)
def test_what_does_not_fit_is_named(key, value, message):
    config = config_of("coco_r50")
    config.model.update_from_flattened_dict({key: value})
    with pytest.raises(UserError) as error:
        check(config)
    assert str(error.value).startswith(message)


def test_the_published_schedule():
    """60 epochs with a drop after 55, 3,537 batches of 16 in each of COCO's; 80 and 75 of CrowdPose's 750."""
    config = config_of("coco_r50")
    assert (config.train.num_steps, config.optimizer.milestones) == (60 * 3537, ((55 * 3537, 0.1),))
    config = config_of("crowdpose_swin_l_5scale")
    assert (config.train.num_steps, config.optimizer.milestones) == (80 * 750, ((75 * 750, 0.1),))
    assert (config.model.levels, config.model.backbone.stages) == (5, (0, 1, 2, 3))
    assert (config.data.name, config.data.skeleton, config.model.backbone.window) == ("crowdpose", "crowdpose", 12)
