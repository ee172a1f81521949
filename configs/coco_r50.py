"""QueryPose, ResNet-50-FPN, COCO keypoints, the released schedule (140k steps of 16 pictures).

    python launch.py --config=configs/coco_r50.py --workdir=runs/coco_r50 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/resnet50

Published (PyTorch, after the released rescoring step, see docs/reproduction.md): keypoint AP 68.7. The honest
counterpart without that step is not published.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    return common.get_config()
