"""Builds the Group Pose that a golden or a manifest asks for."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from configs.grouppose import defaults
from querypose_jax.models.deformable.names import trunk_names
from querypose_jax.models.grouppose.model import GroupPose
from querypose_jax.models.grouppose.params import head_names
from tests.parity.deformable_goldens import backbone_keys, filled, skeleton_of, with_maps_given
from tests.parity.goldens import Golden

# The goldens' names of hyper-parameters -> ours.
MODEL_KEYS = {
    "width": "dim",
    "heads": "heads",
    "levels": "levels",
    "enc_points": "encoder_points",
    "dec_points": "decoder_points",
    "enc_layers": "encoder_layers",
    "dec_layers": "decoder_layers",
    "queries": "num_queries",
    "ffn": "ffn_dim",
    "num_select": "num_select",
    "faithful_aux": "faithful_aux",
}
LOSS_KEYS = {"alpha": "focal_alpha", "w_class": "class_weight", "w_keypoints": "keypoint_weight", "w_oks": "oks_weight"}


def whole_config(theirs: dict, dtype: str) -> ConfigDict:
    """The configuration of a golden's hyper-parameters; skips the test where no skeleton has so many joints."""
    config = defaults.get_config()
    config.model.dtype = dtype
    config.model.num_classes = theirs["num_classes"] - 1  # our head has a column more than there are classes
    for key, ours in MODEL_KEYS.items():
        config.model[ours] = theirs[key]
    for key, ours in LOSS_KEYS.items():
        config.model.loss[ours] = theirs[key]
    config.data.skeleton = skeleton_of(theirs["joints"])
    config.model.backbone.update(backbone_keys(theirs["backbone"], theirs["stages"]))
    return config


def grouppose(golden: Golden, dtype: str) -> GroupPose:
    """The model with the golden's generated weights; without a backbone where the golden has generated maps."""
    theirs = golden.meta["config"]
    config = whole_config(theirs, dtype)
    names = head_names(config.model)
    if theirs["backbone"]:
        names |= trunk_names(config.model.backbone)
    return filled(lambda: build(config, theirs["channels"]), names, golden, dtype)


def build(config: ConfigDict, channels: list[int]) -> GroupPose:
    """A model whose projection reads maps of these channels, or, where there are none, those of its backbone."""
    return with_maps_given(lambda: GroupPose(config, nnx.Rngs(0)), config, channels)


def by_key(outputs) -> dict[str, np.ndarray]:
    """Predictions under the goldens' keys."""
    layers = len(outputs.logits) - 1
    found = {"interm_logits": outputs.logits[-1], "interm_points": outputs.points[-1]}
    for layer in range(layers):
        found |= {f"logits/{layer}": outputs.logits[layer], f"points/{layer}": outputs.points[layer]}
    for layer, references in enumerate(outputs.references):
        found[f"references/{layer}"] = references
    return {key: np.asarray(jnp.asarray(value)) for key, value in found.items()}
