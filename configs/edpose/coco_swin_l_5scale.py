"""ED-Pose, Swin-L with maps of five scales, COCO keypoints, 60 epochs of 3,537 batches of 16 pictures.

    python launch.py --config=configs/edpose/coco_swin_l_5scale.py --workdir=runs/edpose_coco_swin_l_5scale \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/human_detector

Published: keypoint AP 75.8 on val2017 (AP50 92.3, AP75 82.9, APM 70.4, APL 83.5). The authors started from a detector
of people that they had trained on Objects365; neither its weights nor its recipe are published, so this number can be
had by converting the released weights, not by training.

Hardware: released on 4 GPUs of 4 pictures. 218.8 M trained parameters; at 800 x 1333 pixels the encoder has 89,023
tokens, four times those of four scales. Wall time has not been measured here; `--mode=plan` says what a TPU slice
would hold.
"""

from ml_collections import ConfigDict

from configs.edpose import coco_swin_l


def get_config() -> ConfigDict:
    config = coco_swin_l.get_config()
    five_scales(config)
    return config


def five_scales(config: ConfigDict) -> None:
    """The map of stride 4 is used too."""
    config.model.levels = 5
    config.model.backbone.stages = (0, 1, 2, 3)
