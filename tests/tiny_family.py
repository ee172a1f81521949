"""A whole run of every family in seconds, on drawn pictures of 64 x 96 pixels: --config=tests/tiny_family.py:edpose

Parameters are averaged. Nothing of a step is computed on the host, so that compiled programs can be kept.
"""

from ml_collections import ConfigDict

from configs.common import resized_whole
from configs.simplepose import synthetic_tiny as simplepose_tiny
from tests import tiny_run
from tests.models.edpose import small_model as edpose
from tests.models.grouppose import small_model as grouppose

HEIGHT, WIDTH = 64, 96


def small_simplepose() -> ConfigDict:
    config = simplepose_tiny.get_config()
    config.model.backbone.update(depth=1, dims=(8, 8), mods=(1, 1), stem_dim=4, feature_dim=8)
    config.model.decode.people = 16
    config.model.loss.pictures_per_group = 2
    config.data.update(shift=8, eval_length=HEIGHT)
    return config


FAMILIES = {
    "querypose": tiny_run.get_config,
    "grouppose": grouppose.small_config,
    "edpose": lambda: edpose.small_config(**{"loss.pictures_per_group": 2}),
    "simplepose": small_simplepose,
}


def get_config(family: str) -> ConfigDict:
    """Of one of FAMILIES; ValueError for another."""
    if family not in FAMILIES:
        raise ValueError(f"variant {family!r} is unknown; known: {', '.join(FAMILIES)}")
    config = FAMILIES[family]()
    if family != "simplepose":
        resized_whole(config)
        config.data.update(short_sides=(HEIGHT,), eval_short_side=HEIGHT, longest_side=WIDTH)
        config.matching.solver = "device"
    config.data.people_ladder = (8, 32) if family == "querypose" else ()
    config.data.update(batch_size=2, canvases=((HEIGHT, WIDTH),), workers=1)
    config.data.synthetic.update(train_pictures=24, val_pictures=4, height=HEIGHT, width=WIDTH)
    config.optimizer.warmup_steps = 2
    config.train.update(num_steps=12, log_every=1, checkpoint_every=3, ema_decay=0.9)
    config.eval.update(batch_size=2, num_drawn=0)
    return config
