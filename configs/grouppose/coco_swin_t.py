"""Group Pose, Swin-T, COCO keypoints, 60 epochs of 3,537 batches of 16 pictures.

    python launch.py --config=configs/grouppose/coco_swin_t.py --workdir=runs/grouppose_swin_t \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/swin_t

Starts from the trunk pretrained on ImageNet-1k at 224 pixels (window 7).

Published: keypoint AP 73.6 on val2017 (AP50 90.4, AP75 80.5, APM 68.7, APL 81.2), 72.1 on test2017.

Hardware: released on 8 GPUs of 2 pictures. 49.9 M trained parameters. Wall time has not been measured here;
`--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs.grouppose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.backbone.update(name="swin", size="T", window=7)
    return config
