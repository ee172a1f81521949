"""ED-Pose, Swin-L, CrowdPose: 14 joints, train + val, evaluated on test, 80 epochs of 750 batches of 16.

    python launch.py --config=configs/edpose/crowdpose_swin_l.py --workdir=runs/edpose_crowdpose_swin_l \
        --config.data.root=/path/to/crowdpose --config.init_from=/path/to/imported/swin_l

Published: AP 73.1 (AP50 90.5, AP75 79.8; easy 80.5, medium 73.8, hard 63.8).

Hardware: released on 4 GPUs of 4 pictures. Wall time has not been measured here; `--mode=plan` says what a TPU slice
would hold.
"""

from ml_collections import ConfigDict

from configs.crowdpose_r50 import crowdpose_data
from configs.edpose import coco_swin_l, defaults


def get_config() -> ConfigDict:
    config = coco_swin_l.get_config()
    crowdpose_data(config)
    defaults.set_schedule(config, defaults.CROWDPOSE_PICTURES, epochs=80, decay_after=75)
    return config
