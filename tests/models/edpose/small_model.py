"""An ED-Pose small enough for tests."""

from flax import nnx
from ml_collections import ConfigDict

from configs.edpose import synthetic_tiny
from querypose_jax.models.edpose.model import EDPose


def small_config(**changes) -> ConfigDict:
    """Eight queries, one box and one pose layer, 32 channels; `changes` are flat keys of config.model."""
    config = synthetic_tiny.get_config()
    config.model.update(
        num_queries=8, num_instances=4, num_select=6, dim=32, heads=2, encoder_layers=1, encoder_points=2,
        decoder_layers=2, box_layers=1, decoder_points=2, ffn_dim=32,
    )  # fmt: skip
    config.model.denoising.queries = 5
    config.model.update_from_flattened_dict(changes)
    return config


def small_model(**changes) -> EDPose:
    return EDPose(small_config(**changes), nnx.Rngs(0))
