"""Group Pose, Swin-L, CrowdPose: 14 joints, trained on train + val, evaluated on test, 80 epochs of 750 batches of 16.

    python launch.py --config=configs/grouppose/crowdpose_swin_l.py --workdir=runs/grouppose_crowdpose \
        --config.data.root=/path/to/crowdpose --config.init_from=/path/to/imported/swin_l

Published: AP 74.1 (AP50 91.3, AP75 80.4; easy 80.8, medium 74.7, hard 66.4).

Hardware: released on 16 GPUs of one picture. Wall time has not been measured here; `--mode=plan` says what a TPU slice
would hold.
"""

from ml_collections import ConfigDict

from configs.crowdpose_r50 import crowdpose_data
from configs.grouppose import coco_swin_l, defaults


def get_config() -> ConfigDict:
    config = coco_swin_l.get_config()
    crowdpose_data(config)
    defaults.set_schedule(config, defaults.CROWDPOSE_PICTURES, epochs=80, decay_after=70)
    return config
