"""QueryPose, HRNet-W48 with the v1 pyramid, CrowdPose: 14 joints, 280k steps of 16 pictures.

    python launch.py --config=configs/crowdpose_hrnet_w48.py --workdir=runs/crowdpose_hrnet_w48 \
        --config.data.root=/path/to/crowdpose --config.init_from=/path/to/imported/hrnet_w48

`configs/crowdpose_hrnet_w48.py` is the full version, `:light` drops the dynamic MLP and FFN of
the pose decoder.

Published in the paper, CrowdPose test: AP 72.1, AP50 89.4, AP75 78.0, easy 79.8, medium 73.3, hard 63.0; presumably
full and after the released rescoring step (docs/reproduction.md). The released code has no configuration for
CrowdPose: schedule and augmentation are those of COCO. Nothing has been trained on CrowdPose here.
"""

from ml_collections import ConfigDict

from configs import coco_hrnet_w48
from configs.crowdpose_r50 import crowdpose_data


def get_config(variant: str = "full") -> ConfigDict:
    config = coco_hrnet_w48.get_config(variant)
    crowdpose_data(config)
    return config
