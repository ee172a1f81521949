"""SimplePose V2, Hourglass-104, CrowdPose: 14 joints, from COCO's weights, 320 epochs of 32 pictures of 512 x 512.

    python launch.py --config=configs/simplepose/crowdpose_hourglass104.py --workdir=runs/simplepose_crowdpose \
        --config.data.root=/path/to/crowdpose --config.init_from=/path/to/imported/coco_without_heads

The start is the COCO checkpoint, imported with --config=configs/simplepose/crowdpose_hourglass104.py and
--allow-missing=^headnets: the heads have other joints.

Published, on test (height 640, mirrored maps merged): AP 65.2, AP50 85.9, AP75 69.5, easy 73.8, medium 66.2, hard 54.8.
The published weights are those of epoch 190 of further runs at a rate of 2e-4 with
--config.model.loss.offset_weight=1000. CrowdPose has no segmentations: losses count everywhere.
"""

from ml_collections import ConfigDict

from configs.simplepose import defaults

EPOCH = 12_000 // defaults.BATCH  # steps; pictures of train and val
SCHEDULE = ((150, 0.1), (200, 1.0), (260, 0.01))  # up again at 200: the release leaves these epochs out of its list


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.decode.person_threshold = 0.02
    config.data.update(
        name="crowdpose",
        root="data/crowdpose",  # folder with images/ and json/ (original) or annotations/ (mmpose)
        train_split="trainval",  # 12,000 pictures
        eval_split="test",  # 8,000 pictures
        skeleton="crowdpose",
        eval_resize="height",
    )
    config.optimizer.update(
        learning_rate=1e-3,  # 2.5e-4 x 4 GPUs
        warmup_steps=15 * EPOCH,
        warmup_factor=0.0,
    )
    defaults.set_schedule(config, SCHEDULE, EPOCH)
    config.train.num_steps = 320 * EPOCH
    config.eval.flip = True
    return config
