"""ED-Pose, Swin-L, COCO keypoints, 60 epochs of 3,537 batches of 16 pictures.

    python launch.py --config=configs/edpose/coco_swin_l.py --workdir=runs/edpose_coco_swin_l \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/swin_l

Starts from the trunk pretrained on ImageNet-22k at 384 pixels (window 12).

Published: keypoint AP 74.3 on val2017 (AP50 91.5, AP75 81.7, APM 68.5, APL 82.7), 72.7 on test-dev.

Hardware: released on 4 GPUs of 4 pictures. 218.4 M trained parameters. Wall time has not been measured here;
`--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs.edpose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.backbone.update(name="swin", size="L", window=12)
    return config
