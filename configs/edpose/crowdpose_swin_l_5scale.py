"""ED-Pose, Swin-L with maps of five scales, CrowdPose: 14 joints, 80 epochs of 750 batches of 16.

    python launch.py --config=configs/edpose/crowdpose_swin_l_5scale.py --workdir=runs/edpose_crowdpose_swin_l_5scale \
        --config.data.root=/path/to/crowdpose --config.init_from=/path/to/imported/human_detector

Trained on train + val, evaluated on test.

Published: AP 76.6 (AP50 92.4, AP75 83.3; easy 83.0, medium 77.3, hard 68.3), from the same unpublished detector of
people as on COCO (coco_swin_l_5scale.py).

Hardware: released on 4 GPUs of 4 pictures. Wall time has not been measured here; `--mode=plan` says what a TPU slice
would hold.
"""

from ml_collections import ConfigDict

from configs.crowdpose_r50 import crowdpose_data
from configs.edpose import coco_swin_l_5scale, defaults


def get_config() -> ConfigDict:
    config = coco_swin_l_5scale.get_config()
    crowdpose_data(config)
    defaults.set_schedule(config, defaults.CROWDPOSE_PICTURES, epochs=80, decay_after=75)
    return config
