"""A configuration of Group Pose that does not fit together is answered in one line."""

import importlib

import pytest

from querypose_jax.errors import UserError
from querypose_jax.models.grouppose.check import check

CONFIGS = ("coco_r50", "coco_swin_t", "coco_swin_l", "crowdpose_swin_l", "synthetic_tiny")


def config_of(name: str):
    return importlib.import_module(f"configs.grouppose.{name}").get_config()


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configurations_fit(name):
    check(config_of(name))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_queries", 0, "config.model.num_queries=0 must be positive"),
        ("heads", 7, "config.model.dim=256 must be a multiple of model.heads=7"),
        ("dim", 48, "config.model.dim=48 must be a multiple of 32, the groups of the norms"),
        ("levels", 2, "config.model.levels=2 is less than the number of model.backbone.stages=(1, 2, 3)"),
        ("backbone.stages", (3, 1), "config.model.backbone.stages=(3, 1) must name some of the stages (0, 1, 2, 3), "),
        ("backbone.stages", (), "config.model.backbone.stages=() must name some"),
        ("backbone.name", "hrnet", "config.model.backbone.name='hrnet' is unknown; known: resnet, swin, small"),
        ("num_queries", 50, "config.data.max_people=100 is more than model.num_queries=50: keep at most 50 people"),
    ],
)
def test_what_does_not_fit_is_named(key, value, message):
    config = config_of("coco_r50")
    config.model.update_from_flattened_dict({key: value})
    with pytest.raises(UserError) as error:
        check(config)
    assert str(error.value).startswith(message)


def test_the_published_schedule():
    """60 epochs with a drop after 50, 3,537 batches of 16 in each of COCO's; 80 and 70 of CrowdPose's 750."""
    config = config_of("coco_r50")
    assert (config.train.num_steps, config.optimizer.milestones) == (60 * 3537, ((50 * 3537, 0.1),))
    config = config_of("crowdpose_swin_l")
    assert (config.train.num_steps, config.optimizer.milestones) == (80 * 750, ((70 * 750, 0.1),))
    assert (config.data.name, config.data.skeleton, config.model.backbone.window) == ("crowdpose", "crowdpose", 12)
