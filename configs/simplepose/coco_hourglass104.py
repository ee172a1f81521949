"""SimplePose V2, Hourglass-104, COCO keypoints: 78 epochs of 32 pictures of 512 x 512.

    python launch.py --config=configs/simplepose/coco_hourglass104.py --workdir=runs/simplepose_coco \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/multi_pose_hg_3x

Published, keypoint AP: val2017 66.1 (long side 640, mirrored maps merged, only the 2693 pictures with people), test-dev
64.7 (long side 640) and 65.6 (height 640). The published weights come from a chain of resumed runs with changing
options, so that the released code has no recipe that gives exactly these.

187.73 M parameters, 234.5 GFLOPs at 512 x 512 by the authors' count; they train on 4 GPUs with 8 pictures each. Wall
time is not measured here.
"""

from ml_collections import ConfigDict

from configs.simplepose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.eval.flip = True  # official
    return config
