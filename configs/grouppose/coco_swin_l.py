"""Group Pose, Swin-L, COCO keypoints, 60 epochs of 3,537 batches of 16 pictures.

    python launch.py --config=configs/grouppose/coco_swin_l.py --workdir=runs/grouppose_swin_l \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/swin_l

Starts from the trunk pretrained on ImageNet-22k at 384 pixels (window 12).

Published: keypoint AP 74.8 on val2017 (AP50 91.6, AP75 82.1, APM 69.4, APL 83.0), 72.8 on test2017.

Hardware: released on 16 GPUs of one picture. 219.7 M trained parameters. Wall time has not been measured here;
`--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs.grouppose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.backbone.update(name="swin", size="L", window=12)
    return config
