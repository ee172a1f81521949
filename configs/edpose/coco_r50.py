"""ED-Pose, ResNet-50, COCO keypoints, 60 epochs of 3,537 batches of 16 pictures.

    python launch.py --config=configs/edpose/coco_r50.py --workdir=runs/edpose_coco_r50 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/resnet50

Published: keypoint AP 71.7 on val2017 (AP50 89.7, AP75 78.8, APM 66.2, APL 79.7), 69.8 on test-dev. Other papers quote
the paper's 71.6.

Hardware: released on 4 GPUs of 4 pictures. 47.9 M trained parameters. Wall time has not been measured here;
`--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs.edpose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.backbone.update(name="resnet", depth=50)
    return config
