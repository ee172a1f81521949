"""Every default in one place: QueryPose with a ResNet-50 on COCO keypoints, as released.

A config file starts from `get_config()` here and changes only what differs. Values come from the released configs;
"official" in a comment means that the released PyTorch code has the same number.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.init_from = ""  # folder of a checkpoint whose weights a fresh run starts from; "" = random

    config.model = ConfigDict(
        dict(
            name="querypose",
            dtype="float32",  # compute: float32 | bfloat16; parameters stay float32
            num_classes=1,
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
            pose_query="part",  # what joints are regressed from: part queries | instance = copies of the instance query
            part_reading="attention",  # of a person's map: attention = SPEGM | mean | mhsa | channel | spatial
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

    config.data = ConfigDict(
        dict(
            name="coco",  # coco | crowdpose | custom (docs/custom_data.md) | synthetic
            root="data/coco",  # folder with train2017/ val2017/ annotations/; the synthetic set needs none
            prepared="",  # where array_records are written; "" = data/prepared under the working directory
            train_split="train",
            eval_split="val",
            largest_people=0,  # pictures of the train split to keep, those with the largest people; 0 = all
            skeleton="coco",  # coco | crowdpose | a group that describes one, see skeletons.described_skeleton
            batch_size=16,  # global, over all devices and hosts
            max_people=100,  # G: slots per picture; the largest people stay when a picture has more
            row_ladder=(4, 8, 16, 24, 32, 48, 64, 96, 128),  # R: packed rows per device, see packing.py
            flip=0.5,  # probability
            crop=0.5,  # probability of resize + random crop before the last resize, official
            crop_short_sides=(400, 500, 600),  # pixels
            crop_sides=(384, 600),  # pixels, smallest and largest side of the crop
            short_sides=(480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),  # pixels, training
            eval_short_side=800,  # pixels
            longest_side=1333,  # pixels
            canvases=(  # height, width in pixels, multiples of 32; a batch takes the smallest that holds its pictures
                (576, 640), (608, 768), (672, 896), (736, 1024), (800, 1120), (800, 1344),
                (768, 640), (896, 736), (1088, 800), (1344, 800),
                (1344, 1344),  # holds whatever may come; COCO does not need it
            ),
            block_batches=128,  # pictures are regrouped by canvas inside blocks of this many batches
            workers=8,  # threads that read and transform pictures
        )
    )  # fmt: skip

    config.optimizer = ConfigDict(
        dict(
            learning_rate=2.5e-5,  # official, for batches of 16
            flow_factor=10.0,  # learning rate factor of the flow
            backbone_factor=1.0,  # learning rate factor of the backbone, official
            weight_decay=1e-4,  # decoupled, on everything trainable
            clip_norm=1.0,  # global L2 norm
            warmup_steps=1000,
            warmup_factor=0.01,  # learning rate factor at step 0
            schedule="steps",  # steps | factors | cosine
            milestones=(110_000, 130_000),  # steps: x0.1 at each
            factors=(),  # factors: of the learning rate from each milestone on
            final_factor=0.01,  # cosine: factor at the last step
        )
    )

    config.train = ConfigDict(
        dict(
            num_steps=140_000,
            seed=40244023,  # official
            log_every=50,  # steps
            wandb_project="",  # Weights & Biases: project that the run is logged to as well; "" = none
            checkpoint_every=5000,  # steps
            keep_last=2,  # checkpoints, beside the best one
            max_bad_steps=5,  # a step that is not finite is skipped; so many in a row end the run
            grace_s=30.0,  # seconds from SIGTERM on to save and end; Google's preemptible machines give 30
            heartbeat_s=100,  # seconds after which a silent process counts as dead and the others of its run end
            pictures_per_group=2,  # pictures that share batch-norm statistics (pose decoder, hrnet); 0 = all
        )
    )

    config.eval = ConfigDict(
        dict(
            every=5000,  # steps; 0 = never during training
            max_pictures=0,  # 0 = all
            batch_size=1,  # per device
            canvas="ladder",  # ladder (fast) | exact (next multiple of 32 of each picture, the released protocol)
            num_drawn=8,  # pictures with poses drawn per evaluation
            draw_threshold=0.3,  # score from which a pose is drawn
            split="",  # of --mode=eval; "" = data.eval_split; test-dev (COCO) writes the zip that the server takes
            flip=False,  # True: poses of the picture and of its mirror image, merged; twice the time
            released_rescore=False,  # True adds keypoint_released_rescore/AP: comparable with published "AP *" only
            prune=False,  # True: pose stages only for what can be among the 20 best: same keypoint AP, no box AP
            scorer="pycocotools",  # pycocotools | faster_coco_eval (the same numbers sooner, to be installed)
        )
    )

    config.matching = ConfigDict(dict(solver="callback"))  # callback = scipy on the host | device = on the device
    config.mesh = ConfigDict(
        dict(
            data=-1,  # data x fsdp devices share a batch; -1 = all that fsdp leaves
            fsdp=1,  # devices that share one copy of what `parameters` says; 1 = every device has all
            parameters="fsdp",  # split over fsdp: replicated = nothing | zero1 = moments | fsdp = parameters too
        )
    )
    config.plan = ConfigDict(  # of --mode=plan, which compiles for a TPU that is not there
        dict(
            batches=(1, 2),  # pictures per chip of the two training programs between which memory is interpolated
            people=8,  # packed rows per picture: COCO has about 4 people per picture, and devices differ
            hbm_gib=0.0,  # memory of a chip; 0 = that of its kind
            search=False,  # True compiles ZeRO-1 and FSDP too instead of working them out
        )
    )
    return config


def is_light(variant: str) -> bool:
    """What `file.py:light` and `file.py:full` set config.model.light to; ValueError for another variant."""
    if variant not in ("light", "full"):
        raise ValueError(f"variant {variant!r} is unknown; known: light, full")
    return variant == "light"
