"""The released ED-Pose: what its checkpoints are called and hold, and the hyper-parameters that follow from them."""

from typing import Any

from querypose_jax.models.deformable import released as of_deformable
from querypose_jax.models.deformable.names import KNOWINGLY_UNUSED, canonical_trunk_names
from querypose_jax.models.edpose import mmpose
from querypose_jax.models.edpose.params import DECODER, official_names
from querypose_jax.models.family import OfficialWeights, Origin, Released, Shapes

ORIGIN = Origin(
    publisher="the authors of ED-Pose (IDEA Research)",
    page="https://github.com/IDEA-Research/ED-Pose",
    terms="IDEA License 1.0: non-commercial research only",
)
OF_MMPOSE = Origin(
    publisher="MMPose, converted from the authors' file",
    page="https://github.com/open-mmlab/mmpose/tree/main/configs/body_2d_keypoint/edpose",
    terms="MMPose is Apache-2.0; the weights are the authors', IDEA License 1.0: non-commercial research only",
)
DRIVE = "https://drive.google.com/uc?id="
RELEASED = (  # files as the release's evaluation commands call them; that of Human-Art has no name there
    Released(
        "ED-Pose R-50, COCO",
        "edpose/coco_r50.py",
        "edpose_r50_coco.pth",
        f"{DRIVE}1Q5OpZeCvaSgqC0NlKeRiJFmHBtusxnjX",
    ),
    Released(
        "ED-Pose Swin-L, COCO",
        "edpose/coco_swin_l.py",
        "edpose_swinl_coco.pth",
        f"{DRIVE}11NEwOfQhr6Zb46qzexxEYSQekLyeomu-",
    ),
    Released(
        "ED-Pose Swin-L, five scales, COCO",
        "edpose/coco_swin_l_5scale.py",
        "edpose_swinl_5scale_coco.pth",
        f"{DRIVE}1lKj4JmQjG_WoIcLOc_LhHOSbomBGIpra",
    ),
    Released(
        "ED-Pose R-50, CrowdPose",
        "edpose/crowdpose_r50.py",
        "edpose_r50_crowdpose.pth",
        f"{DRIVE}1CyO520iLTtCstiERvBztNWxu9FiiFGxq",
    ),
    Released(
        "ED-Pose Swin-L, CrowdPose",
        "edpose/crowdpose_swin_l.py",
        "edpose_swinl_crowdpose.pth",
        f"{DRIVE}1DyqCQr9fu8pkKkX34si6c3makFQtieJl",
    ),
    Released(
        "ED-Pose Swin-L, five scales, CrowdPose",
        "edpose/crowdpose_swin_l_5scale.py",
        "edpose_swinl_5scale_crowdpose.pth",
        f"{DRIVE}1fxFhh5Z3qLOB1zHVNYNvxQq1RHXFzw5R",
    ),
    Released(
        "ED-Pose R-50, Human-Art and COCO",
        "edpose/human_art_r50.py",
        address=f"{DRIVE}15qasCeafI011ZWCGAe3I4ZdRsGMXBc9X",
    ),
    Released(
        "ED-Pose R-50, COCO, as converted by MMPose",
        "edpose/coco_r50.py",
        "edpose_res50_coco_3rdparty.pth",
        "https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/edpose/coco/edpose_res50_coco_3rdparty.pth",
        port="mmpose",
        origin=OF_MMPOSE,
    ),
)
EARLY_BOX_LAYERS = 2  # of all released models; no shape tells it


def hyper_parameters(shapes: Shapes) -> dict[str, Any] | None:
    """Everything that names and shapes tell: not the number of queries, which no parameter depends on, and not how many
    layers are the human decoder's. None: no ED-Pose."""
    if not {f"{DECODER}keypoint_embed.weight", "label_enc.weight", "transformer.level_embed"} <= shapes.keys():
        return None
    encoder = of_deformable.encoder(shapes)
    per_point = of_deformable.COORDINATES * encoder["heads"] * encoder["levels"]
    found = encoder | {
        "num_classes": shapes["class_embed.0.weight"][0] - 1,  # the first column is nobody's
        "decoder_layers": of_deformable.count(shapes, r"transformer\.decoder\.layers\.\d+\."),
        "decoder_points": shapes[f"{DECODER}layers.0.cross_attn.sampling_offsets.bias"][0] // per_point,
        "box_layers": EARLY_BOX_LAYERS,
        "denoising.labels": shapes["label_enc.weight"][0] - 1,
    }
    found |= of_deformable.backbone(shapes)
    joints = shapes[f"{DECODER}keypoint_embed.weight"][0]
    return {f"model.{key}": value for key, value in found.items()} | of_deformable.skeleton(joints)


WEIGHTS = OfficialWeights(
    names=official_names,
    trunk=canonical_trunk_names,
    unused=KNOWINGLY_UNUSED,
    prefixes=(
        "transformer.",
        "class_embed.",
        "bbox_embed.",
        "pose_embed.",
        "pose_hw_embed.",
        "input_proj.",
        "label_enc.",
    ),
    hyper_parameters=hyper_parameters,
    released=RELEASED,
    origin=ORIGIN,
    ports={"mmpose": mmpose.official_name},
)
