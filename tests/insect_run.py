"""A whole run on insects in seconds: configs/custom_example.py with the smallest QueryPose."""

from configs import custom_example
from tests import tiny_run


def get_config():
    config, small = custom_example.get_config(), tiny_run.get_config()
    classes = config.model.num_classes
    config.model.update(small.model)
    config.model.num_classes = classes
    config.data.update(batch_size=2, people_ladder=(8,), workers=1)
    config.train.update(num_steps=3, log_every=1, checkpoint_every=3)
    config.eval.update(batch_size=2, num_drawn=2)
    config.optimizer.warmup_steps = 2
    return config
