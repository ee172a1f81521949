"""ED-Pose, ResNet-50, CrowdPose: 14 joints, train + val, evaluated on test, 80 epochs of 750 batches of 16.

    python launch.py --config=configs/edpose/crowdpose_r50.py --workdir=runs/edpose_crowdpose_r50 \
        --config.data.root=/path/to/crowdpose --config.init_from=/path/to/imported/resnet50

Published: AP 69.9 (AP50 88.6, AP75 75.8; easy 77.7, medium 70.6, hard 60.9).

Hardware: released on 4 GPUs of 4 pictures. 47.7 M trained parameters. Wall time has not been measured here;
`--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs.crowdpose_r50 import crowdpose_data
from configs.edpose import coco_r50, defaults


def get_config() -> ConfigDict:
    config = coco_r50.get_config()
    crowdpose_data(config)
    defaults.set_schedule(config, defaults.CROWDPOSE_PICTURES, epochs=80, decay_after=75)
    return config
