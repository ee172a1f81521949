"""Builds the ED-Pose that a golden or a manifest asks for, and reads its people and draws."""

import copy
import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from configs.edpose import defaults
from querypose_jax.models.deformable.names import trunk_names
from querypose_jax.models.edpose.denoising import Noise
from querypose_jax.models.edpose.model import EDPose
from querypose_jax.models.edpose.outputs import Outputs
from querypose_jax.models.edpose.params import head_names
from querypose_jax.structures import Batch
from tests.parity import deformable_goldens
from tests.parity.deformable_goldens import filled, skeleton_of, with_maps_given
from tests.parity.goldens import Golden

# The goldens' names of hyper-parameters -> ours.
MODEL_KEYS = {
    "width": "dim",
    "heads": "heads",
    "num_feature_levels": "levels",
    "ffn": "ffn_dim",
    "enc_layers": "encoder_layers",
    "dec_layers": "decoder_layers",
    "box_layers": "box_layers",
    "num_queries": "num_queries",
    "num_group": "num_instances",
    "num_select": "num_select",
}
LOSS_KEYS = {
    "w_class": "class_weight",
    "w_box": "box_weight",
    "w_giou": "giou_weight",
    "w_keypoints": "keypoint_weight",
    "w_oks": "oks_weight",
    "w_dn_class": "denoising_class_weight",
    "w_dn_box": "denoising_box_weight",
    "w_dn_giou": "denoising_giou_weight",
}
DENOISING_KEYS = {
    "dn_number": "queries",
    "dn_box_noise": "box_noise",
    "dn_label_noise": "label_noise",
    "dn_label_book": "labels",
}


def whole_config(theirs: dict, dtype: str, pictures: int = 4) -> ConfigDict:
    """The configuration of a golden's hyper-parameters; all its pictures are one group of the denoising losses."""
    config = defaults.get_config()
    config.model.dtype = dtype
    config.model.num_classes = theirs["num_classes"] - 1  # our head has a column more than there are classes
    config.model.encoder_points = config.model.decoder_points = theirs["points"]
    config.model.loss.pictures_per_group = pictures
    for keys, group in (
        (MODEL_KEYS, config.model),
        (LOSS_KEYS, config.model.loss),
        (DENOISING_KEYS, config.model.denoising),
    ):
        group.update({ours: theirs[key] for key, ours in keys.items()})
    config.data.skeleton = skeleton_of(theirs["num_joints"])
    backbone = "" if theirs["backbone"] == "maps" else theirs["backbone"]
    config.model.backbone.update(deformable_goldens.backbone_keys(backbone, theirs["stages"]))
    return config


def edpose(golden: Golden, dtype: str, **changes) -> EDPose:
    """The model with the golden's generated weights; without a backbone where the golden has generated maps.

    `changes` are to the golden's hyper-parameters.
    """
    theirs = golden.meta["config"] | changes
    config = whole_config(theirs, dtype, pictures=len(golden["image_sizes"]))
    names = head_names(config)
    if theirs["backbone"] != "maps":
        names |= trunk_names(config.model.backbone)
    return filled(lambda: build(config, theirs["map_channels"]), names, golden, dtype)


def build(config: ConfigDict, channels: list[int]) -> EDPose:
    """A model whose projection reads maps of these channels, or, where there are none, those of its backbone."""
    return with_maps_given(lambda: EDPose(config, nnx.Rngs(0)), config, channels)


def batch(golden: Golden, dtype: str) -> Batch:
    """The golden's pictures and people; joints and their visibility lie apart in the goldens of ED-Pose."""
    if "gt_visible" not in golden:
        return deformable_goldens.batch(golden, dtype)
    keypoints = np.concatenate([golden["gt_keypoints"], golden["gt_visible"][..., None]], -1)
    return deformable_goldens.batch(with_arrays(golden, gt_keypoints=keypoints), dtype)


def with_arrays(golden: Golden, **arrays: np.ndarray) -> Golden:
    """The golden with other arrays under these names."""
    changed = copy.copy(golden)
    changed.arrays = golden.arrays | arrays
    return changed


def noise(golden: Golden, step: int | None = None) -> Noise:
    """The golden's draws, of a step where it has several."""
    keys = ("index", "label_u", "label_new", "box_u", "empty_boxes")
    draws = [golden[f"noise_{key}"] for key in keys]
    return Noise(*(jnp.asarray(draw if step is None else draw[step]) for draw in draws))


def by_key(outputs: Outputs) -> dict[str, np.ndarray]:
    """Predictions under the goldens' keys."""
    people, instances = outputs.people, outputs.instances
    box_layers, pose_layers = len(people.logits) - 1, len(instances.logits)
    found = {"interm_logits": people.logits[-1], "interm_boxes": people.boxes[-1]}
    for layer in range(box_layers):
        found |= {f"logits/{layer}": people.logits[layer], f"boxes/{layer}": people.boxes[layer]}
    for s in range(pose_layers):
        layer = box_layers + s
        found |= {f"{field.name}/{layer}": getattr(instances, field.name)[s] for field in dataclasses.fields(instances)}
    for layer, references in enumerate(outputs.references):
        found[f"references/{layer}"] = references
    if outputs.denoised is not None:
        for layer in range(box_layers + pose_layers):
            found[f"dn_logits/{layer}"] = outputs.denoised.logits[layer]
            found[f"dn_boxes/{layer}"] = outputs.denoised.boxes[layer]
        found["dn_targets"] = outputs.denoised.target
    return {key: np.asarray(value) for key, value in found.items()}
