"""QueryPose with a ResNet-50 on COCO keypoints, as released: the family's keys on top of configs/common.py.

Values come from the released configs; "official" in a comment means that the released PyTorch code has the same number.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()

    config.model.update(
        dict(
            name="querypose",
            num_proposals=100,  # N
            stages=6,  # S
            dim=256,  # instance query channels
            heads=8,  # of both attentions
            ffn_dim=2048,
            class_layers=1,  # depth of the classification tower
            box_layers=3,  # depth of the box tower
            dynamic_dim=64,  # hidden channels of the dynamic convolutions
            box_roi=7,  # RoIAlign cells per side, P2..P5
            pose_roi=14,  # RoIAlign cells per side, P2
            roi_align="auto",  # auto = by platform and map size | gather | dense | triton (on CUDA); same numbers
            pose_convs=6,  # 3x3 convolutions of the pose decoder, twice as wide inside
            part_dim=128,  # part query channels
            light=False,  # True drops the dynamic MLP and FFN on the instance query in the pose decoder
            # True computes box and pose stages (with query_feedback="all" box stages only) again in the backward pass.
            remat=False,
            carry_query_at_test=False,  # True: the paper's Figure 3(b); False: as released
            # Which queries go on to the next stage as the pose decoder's dynamic MLP has refined them: released = in
            # training the matched ones, at test none | none | all = all, in training and at test. Not in the light one.
            query_feedback="released",
            # Only for the paper's ablations (configs/ablations.py):
            # What joints are regressed from: part = part queries | instance = the instance query, enhanced by what it
            # reads | pooled = the mean of the person's map. The last two with a skeleton of one part.
            pose_query="part",
            part_reading="attention",  # of a person's map: attention = SPEGM | mhsa | channel | spatial
            iteration="selective",  # of part queries over stages: selective = SIM | none | summation | concatenation
            flow_couplings=6,  # RealNVP
            flow_dim=64,  # hidden width of the couplings' networks
            proposals="image",  # first boxes: "image" = the whole picture, "grid" = a grid of centres
            proposal_grid=(10, 10),  # rows, columns where proposals="grid"
            proposal_size=(0.3, 0.4),  # width, height relative to the picture where proposals="grid"
        )
    )
    config.model.backbone = ConfigDict(
        dict(
            name="resnet",  # resnet | hrnet | swin | small
            depth=50,  # resnet: 50 | 101
            branch_width=32,  # hrnet: channels of the finest branch, 32 | 48
            pyramid="plain",  # hrnet: plain (released with width 32) | v1 (released with width 48)
            size="T",  # swin: T | B | L
            drop_path=0.2,  # swin: probability that the last block is skipped for a picture in training, official
            remat=False,  # resnet, hrnet, swin: True computes blocks again in the backward pass, which saves memory
            width=256,  # pyramid channels
        )
    )
    config.model.loss = ConfigDict(
        dict(
            focal_alpha=0.25,
            focal_gamma=2.0,
            class_weight=2.0,  # these three weigh the matching cost too
            l1_weight=5.0,
            giou_weight=2.0,
            keypoint_weight=1.0,
        )
    )
    config.matching = ConfigDict(dict(solver="callback"))  # callback = scipy on the host | device = on the device
    config.data.recipe = "querypose"
    config.data.people_ladder = (4, 8, 16, 24, 32, 48, 64, 96, 128)  # R: packed rows of the pose decoder per device
    config.train.pictures_per_group = 2  # pictures that share batch-norm statistics (pose decoder, hrnet); 0 = all
    config.eval.released_rescore = False  # True adds keypoint_released_rescore/AP, comparable with published "AP *"

    config.optimizer.update(
        learning_rate=2.5e-5,  # official, for batches of 16
        rate_factors=(("flow", 10.0), ("backbone", 1.0)),  # official
    )
    return config


def is_light(variant: str) -> bool:
    """What `file.py:light` and `file.py:full` set config.model.light to; ValueError for another variant."""
    if variant not in ("light", "full"):
        raise ValueError(f"variant {variant!r} is unknown; known: light, full")
    return variant == "light"
