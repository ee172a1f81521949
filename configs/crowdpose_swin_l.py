"""QueryPose, Swin-L-FPN, CrowdPose: 14 joints, 280k steps of 16 pictures.

    python launch.py --config=configs/crowdpose_swin_l.py --workdir=runs/crowdpose_swin_l \
        --config.data.root=/path/to/crowdpose --config.init_from=/path/to/imported/swin_l

`configs/crowdpose_swin_l.py` is the full version; `configs/crowdpose_swin_l.py:light` drops the dynamic MLP and FFN of
the pose decoder.

Published in the paper, CrowdPose test: AP 72.7, AP50 91.7, AP75 78.1, easy 79.5, medium 73.4, hard 65.4; presumably
full and after the released rescoring step (docs/reproduction.md). The released code has no configuration for
CrowdPose: schedule and augmentation are those of COCO. Nothing has been trained on CrowdPose here.
"""

from ml_collections import ConfigDict

from configs import coco_swin_l
from configs.crowdpose_r50 import crowdpose_data


def get_config(variant: str = "full") -> ConfigDict:
    config = coco_swin_l.get_config(variant)
    crowdpose_data(config)
    return config
