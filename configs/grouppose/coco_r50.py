"""Group Pose, ResNet-50, COCO keypoints, 60 epochs of 3,537 batches of 16 pictures.

    python launch.py --config=configs/grouppose/coco_r50.py --workdir=runs/grouppose_r50 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/resnet50

Published: keypoint AP 72.0 on val2017 (AP50 89.4, AP75 79.1, APM 66.8, APL 79.7), 70.2 on test2017. In the authors' own
run it jumped from 68.8 to 71.1 where the learning rate drops; somebody else's run with the default file ended at 70.8.

Hardware: released on 8 A100 of 2 pictures, about 40 hours. 49.1 M trained parameters. Wall time has not been measured
here; `--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs.grouppose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.backbone.update(name="resnet", depth=50)
    return config
