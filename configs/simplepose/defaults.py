"""SimplePose V2 with Hourglass-104 on COCO keypoints, as released: the family's keys on top of configs/common.py.

Values come from the released code and its command lines; "official" in a comment means that it has the same number. The
paper is arXiv 2107.03098.
"""

from ml_collections import ConfigDict

from configs import common

PICTURES = 56_599  # of COCO's train2017 with a labelled joint
BATCH = 32  # 8 on each of 4 GPUs, official
EPOCH = PICTURES // BATCH  # steps
# From which epoch on the base rate has which factor, official: it goes up again at epoch 78.
COCO_SCHEDULE = (
    (65, 0.2), (70, 0.04), (75, 0.008), (78, 1.0), (92, 0.1), (105, 0.01),
)  # fmt: skip


def get_config() -> ConfigDict:
    config = common.get_config()

    config.model.update(
        dict(
            name="simplepose",
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
            tau=0.01,  # Gaussians end where they fall below; also the foreground of the focal loss
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
            drop_above=1e8,  # a batch with a larger total is a bad step: skipped and counted
        )
    )
    config.model.decode = ConfigDict(
        dict(
            candidates=32,  # highest peaks per joint
            heatmap_threshold=0.04,  # of a candidate
            max_distance=40.0,  # network pixels from where an offset points to the joint it means
            min_length=0.5,  # network pixels, of a limb where its score divides by the length
            no_scale=4.0,  # network pixels, size of all joints without a scale head
            person_threshold=0.04,  # mean score of a person's joints; 0.02 for CrowdPose
            people=128,  # N: slots in which people are put together; more than that are not found
        )
    )

    config.data.update(
        recipe="affine",  # its probabilities and ranges in configs/common.py are the official ones
        batch_size=BATCH,
        max_people=30,  # G
        canvases=((512, 512),),  # one: the warp fills it
    )

    config.optimizer.update(
        name="adam",
        learning_rate=5e-4,  # 1.25e-4 x 4 GPUs, official
        weight_decay=0.0,
        clip_norm=0.0,  # nothing is clipped
        warmup_steps=0,
        schedule="steps",
    )
    set_schedule(config, COCO_SCHEDULE, EPOCH)
    config.train.update(
        num_steps=78 * EPOCH,  # the published weights are those of epoch 77
        seed=0,
    )
    config.train.pictures_per_group = 0  # batch norm is synchronised over the whole batch, official
    return config


def set_schedule(config: ConfigDict, schedule: tuple[tuple[int, float], ...], epoch: int) -> None:
    """From each of these epochs on the learning rate has its factor of the base rate; `epoch` is in steps."""
    config.optimizer.milestones = tuple((first * epoch, factor) for first, factor in schedule)
