"""The released Group Pose: what its checkpoints are called and hold, and the hyper-parameters that follow from them."""

from typing import Any

from querypose_jax.models.deformable import released as of_deformable
from querypose_jax.models.deformable.names import KNOWINGLY_UNUSED, canonical_trunk_names
from querypose_jax.models.family import OfficialWeights, Origin, Released, Shapes
from querypose_jax.models.grouppose.params import DECODER, official_names

ORIGIN = Origin(
    publisher="the authors of Group Pose", page="https://github.com/Michel-liu/GroupPose", terms="Apache-2.0"
)
RELEASED = (  # the files have no names of their own in the release's table
    Released("Group Pose R-50, COCO", "grouppose/coco_r50.py"),
    Released("Group Pose Swin-T, COCO", "grouppose/coco_swin_t.py"),
    Released("Group Pose Swin-L, COCO", "grouppose/coco_swin_l.py"),
    Released("Group Pose Swin-L, CrowdPose", "grouppose/crowdpose_swin_l.py"),
)


def hyper_parameters(shapes: Shapes) -> dict[str, Any] | None:
    """Everything that names and shapes tell: not the number of queries, which no parameter depends on. None: no Group
    Pose."""
    if not {"transformer.instance_embedding.weight", "transformer.level_embed"} <= shapes.keys():
        return None
    encoder = of_deformable.encoder(shapes)
    per_point = of_deformable.COORDINATES * encoder["heads"] * encoder["levels"]
    found = encoder | {
        "num_classes": shapes["class_embed.0.weight"][0] - 1,  # the first column is nobody's
        "decoder_layers": of_deformable.count(shapes, r"transformer\.decoder\.layers\.\d+\."),
        "decoder_points": shapes[f"{DECODER}layers.0.cross_attn.sampling_offsets.bias"][0] // per_point,
    }
    found |= of_deformable.backbone(shapes)
    joints = shapes["transformer.keypoint_embedding.weight"][0]
    return {f"model.{key}": value for key, value in found.items()} | of_deformable.skeleton(joints)


WEIGHTS = OfficialWeights(
    names=official_names,
    trunk=canonical_trunk_names,
    unused=KNOWINGLY_UNUSED,
    prefixes=("transformer.", "class_embed.", "pose_embed.", "input_proj."),
    hyper_parameters=hyper_parameters,
    released=RELEASED,
    origin=ORIGIN,
)
