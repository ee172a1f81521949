"""Defaults of SimplePose V2: Hourglass-104 on COCO keypoints, as released, on top of the common ones.

Values come from the released code and its command lines ("official"); the paper is arXiv 2107.03098.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()

    config.model = ConfigDict(
        dict(
            name="simplepose",
            dtype="float32",  # compute: float32 | bfloat16; parameters stay float32
            scale_head=False,  # True: a third head predicts how large each joint is; not in the published models
        )
    )
    config.model.backbone = ConfigDict(
        dict(
            name="hourglass",
            depth=5,  # levels of one hourglass: sides of a picture must be multiples of 4 x 2^depth pixels
            dims=(256, 256, 384, 384, 384, 512),  # channels per level, depth + 1 numbers
            mods=(2, 2, 2, 2, 2, 4),  # residual blocks per level, the last one at the innermost map
            stem_dim=128,  # channels at stride 2
            feature_dim=256,  # channels that the heads read
            stacks=2,
            remat=False,  # True computes each hourglass again in the backward pass, which saves memory
        )
    )
    config.model.targets = ConfigDict(
        dict(
            sigma=7.0,  # of the Gaussians, network pixels
            threshold=0.01,  # tau: Gaussians end where they fall below; also the foreground of the focal loss
            offset_window=3.5,  # cells on each side of a limb's start that learn where its end is
            min_joint_scale=1.0,  # network pixels; smaller joints have no target of the scale head
        )
    )
    config.model.loss = ConfigDict(
        dict(
            focal_gamma=1.0,  # what the released code computes, though its command line asks for 2
            offset_margin=1e-5,  # errors relative to the person below it are left out
            scale_margin=0.1,  # network pixels; the same for the scale head
            heatmap_weight=1.0,
            offset_weight=10_000.0,  # 1000 in CrowdPose's last runs
            scale_weight=10.0,
            pictures_per_group=8,  # neighbouring pictures whose offset losses are one mean: those of one GPU, official
            drop_above=1e8,  # a batch with a larger total is a bad step
        )
    )
    config.model.decode = ConfigDict(
        dict(
            candidates=32,  # highest peaks per joint
            heatmap_threshold=0.04,  # of a candidate
            max_distance=40.0,  # network pixels from where an offset points to the joint it means
            min_length=0.5,  # network pixels, of a limb where scores are divided by its length
            no_scale=4.0,  # network pixels, size of all joints without a scale head
            person_threshold=0.04,  # mean score of a person's joints; 0.02 for CrowdPose
            people=128,  # N: slots in which people are put together; more than that are not found
        )
    )

    config.data.update(
        batch_size=32,  # 8 on each of 4 GPUs, official
        canvases=((512, 512),),
        max_people=30,
    )
    config.train.pictures_per_group = 0  # batch norm is synchronised over the whole batch, official
    return config
