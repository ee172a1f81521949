"""Small heads on real trunks, and complete state dicts for them."""

import numpy as np
from ml_collections import ConfigDict

from configs import querypose
from querypose_jax.weights.official import abstract, official_shapes


def small_head(**backbone) -> ConfigDict:
    """A config with a head of a few thousand parameters, in the full version, on a trunk of real size."""
    config = querypose.get_config()
    config.model.update(
        num_proposals=4, stages=1, dim=16, heads=2, ffn_dim=16, dynamic_dim=4, pose_convs=1, part_dim=16,
        flow_couplings=2, flow_dim=8,
    )  # fmt: skip
    config.model.backbone.update(width=16, **backbone)
    config.data.max_people = 4
    return config


def get_config() -> ConfigDict:
    """What --config=tests/weights/states.py gives a command: a ResNet-50."""
    return small_head()


def shapes(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """Official name -> shape of everything the model takes."""
    return official_shapes(*abstract(config))


def hollow(named: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Zeros of these shapes that take no memory: enough where only names and shapes are looked at."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in named.items()}


def random_state(config: ConfigDict) -> dict[str, np.ndarray]:
    """A complete state dict with official names, every number different; variances are positive."""
    rng = np.random.default_rng(0)
    return {
        name: np.abs(x) if name.endswith("running_var") else x
        for name, shape in shapes(config).items()
        for x in [rng.standard_normal(shape, np.float32)]
    }
