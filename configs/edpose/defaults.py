"""ED-Pose with a ResNet-50 on COCO keypoints, as released: the family's keys on top of configs/common.py.

Values come from the released configuration and the published commands; "official" in a comment means that the released
PyTorch code has the same number.
"""

from ml_collections import ConfigDict

from configs import common

COCO_PICTURES = 56_599  # of train2017 with at least one labelled joint: an epoch
CROWDPOSE_PICTURES = 12_000  # of trainval
BATCH = 16  # official: 4 GPUs of 4 pictures


def get_config() -> ConfigDict:
    config = common.get_config()

    config.model.update(
        dict(
            name="edpose",
            num_queries=900,  # N: people as boxes
            num_instances=100,  # I: people that are expanded into joints
            num_select=50,  # poses that are reported per picture
            dim=256,  # channels of tokens and queries
            heads=8,  # of all attentions
            levels=4,  # L: the backbone's stages and coarser ones
            encoder_layers=6,
            encoder_points=4,  # P: samples per head and level
            decoder_layers=6,  # of both decoders
            box_layers=2,  # of these, the human decoder's; the rest has joints
            decoder_points=4,
            ffn_dim=2048,
            remat=False,  # True computes encoder and decoder layers again in the backward pass, which saves memory
        )
    )
    config.model.backbone = ConfigDict(
        dict(
            name="resnet",  # resnet | swin | small
            depth=50,  # resnet: 50 | 101
            size="L",  # swin: T | B | L
            window=12,  # swin: tokens per side; 7 for T, and for B and L pretrained on pictures of 224 pixels
            drop_path=0.2,  # swin: probability that the last block is skipped for a picture in training, official
            remat=False,  # True computes blocks again in the backward pass, which saves memory
            stages=(1, 2, 3),  # maps that are used, 0 = stride 4 ... 3 = stride 32
        )
    )
    config.model.denoising = ConfigDict(
        dict(
            queries=100,  # D: noisy copies of people beside the queries, in training
            labels=100,  # that a label may become by noise
            label_noise=0.5,  # probability that it does
            box_noise=0.4,  # most that a box moves, relative to half its sides, and that its sides change
        )
    )
    config.model.loss = ConfigDict(
        dict(
            focal_alpha=0.25,
            focal_gamma=2.0,
            class_weight=2.0,  # these five weigh the matching cost too
            box_weight=5.0,  # in the cost of outputs without joints only, and so the next
            giou_weight=2.0,
            keypoint_weight=10.0,
            oks_weight=4.0,
            denoising_class_weight=0.3,
            denoising_box_weight=2.5,
            denoising_giou_weight=1.0,
            pictures_per_group=4,  # over which denoising losses are summed: the pictures of a GPU of the release
        )
    )
    config.matching = ConfigDict(dict(solver="callback"))  # callback = scipy on the host | device = on the device

    config.data.update(recipe="detr", batch_size=BATCH)
    config.optimizer.update(
        learning_rate=1e-4,  # official
        rate_factors=(("backbone", 0.1),),  # official
        weight_decay=1e-4,  # official
        clip_norm=0.1,  # official
        warmup_steps=0,  # official
        schedule="steps",
    )
    set_schedule(config, COCO_PICTURES, epochs=60, decay_after=55)
    config.train.update(
        seed=42,  # official
        ema_decay=0.9997,  # official; the release averages tensors that its state dict holds twice, twice a step
    )
    return config


def set_schedule(config: ConfigDict, pictures: int, epochs: int, decay_after: int) -> None:
    """Steps of so many epochs of batches of 16, with a tenth of the rate after `decay_after` of them."""
    steps = pictures // BATCH  # of an epoch
    config.train.num_steps = epochs * steps
    config.optimizer.milestones = ((decay_after * steps, 0.1),)
