"""Group Pose with a ResNet-50 on COCO keypoints, as released: the family's keys on top of configs/common.py.

Values come from the released configuration; "official" in a comment means that the released PyTorch code has the same
number.
"""

from ml_collections import ConfigDict

from configs import common

COCO_PICTURES = 56_599  # of train2017 with at least one labelled joint: an epoch
CROWDPOSE_PICTURES = 12_000  # of trainval
BATCH = 16  # official; the authors: results depend on the learning rate and on the batch, scale both together


def get_config() -> ConfigDict:
    config = common.get_config()

    config.model.update(
        dict(
            name="grouppose",
            num_queries=100,  # N: instances
            num_select=50,  # poses that are reported per picture
            dim=256,  # channels of tokens and queries
            heads=8,  # of all attentions
            levels=4,  # L: the backbone's stages and coarser ones
            encoder_layers=6,
            encoder_points=4,  # P: samples per head and level
            decoder_layers=6,
            decoder_points=4,
            ffn_dim=2048,
            # True: as released, losses of all layers but the last see queries to which the next layer's position is
            # already added; False: the queries as the layer gave them. The same predictions.
            faithful_aux=True,
            remat=False,  # True computes encoder and decoder layers again in the backward pass, which saves memory
        )
    )
    config.model.backbone = ConfigDict(
        dict(
            name="resnet",  # resnet | swin | small
            depth=50,  # resnet: 50 | 101
            size="T",  # swin: T | B | L
            window=7,  # swin: tokens per side; 12 for B and L pretrained on pictures of 384 pixels
            drop_path=0.2,  # swin: probability that the last block is skipped for a picture in training, official
            remat=False,  # True computes blocks again in the backward pass, which saves memory
            stages=(1, 2, 3),  # maps that are used, 0 = stride 4 ... 3 = stride 32
        )
    )
    config.model.loss = ConfigDict(
        dict(
            focal_alpha=0.25,
            focal_gamma=2.0,
            class_weight=2.0,  # these three weigh the matching cost too
            keypoint_weight=10.0,
            oks_weight=4.0,
        )
    )
    config.matching = ConfigDict(dict(solver="callback"))  # callback = scipy on the host | device = on the device

    config.data.update(recipe="detr", batch_size=BATCH)
    config.optimizer.update(
        learning_rate=1e-4,  # official, for batches of 16
        rate_factors=(("backbone", 0.1),),  # official
        weight_decay=1e-4,  # official
        clip_norm=0.1,  # official
        warmup_steps=0,  # official
        schedule="steps",
    )
    set_schedule(config, COCO_PICTURES, epochs=60, decay_after=50)
    config.train.seed = 42  # official
    return config


def set_schedule(config: ConfigDict, pictures: int, epochs: int, decay_after: int) -> None:
    """Steps of so many epochs of batches of 16, with a tenth of the rate after `decay_after` of them."""
    steps = pictures // BATCH  # of an epoch
    config.train.num_steps = epochs * steps
    config.optimizer.milestones = ((decay_after * steps, 0.1),)
