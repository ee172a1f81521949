"""What no model owns: data, training, evaluation, mesh, planning. Every value with its unit.

The families add their own keys on top: configs/querypose.py and, in folders of their names, the others. A config file
starts from its family's `get_config()` and changes only what differs. Time is counted in steps: where a release
counts epochs, its file says how many usable pictures an epoch has, and how many steps.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.init_from = ""  # weights that a fresh run starts from: a run, an import, or a file of weights; "" = random
    config.init_map = ()  # ((name, name there), ...) of joints and classes that have another name in those weights
    config.init_raw = False  # True: where that run averages its parameters (train.ema_decay), those without averaging

    config.model = ConfigDict(
        dict(
            name="",  # of the family
            dtype="float32",  # compute: float32 | bfloat16; parameters stay float32
            num_classes=1,  # of the data
        )
    )

    config.data = ConfigDict(
        dict(
            name="coco",  # coco | crowdpose | custom, yolo (docs/custom_data.md) | synthetic
            root="data/coco",  # folder with train2017/ val2017/ annotations/, or data.yaml; the synthetic set has none
            prepared="",  # where array_records are written; "" = data/prepared under the working directory
            train_split="train",
            eval_split="val",
            largest_people=0,  # pictures of the train split to keep, those with the largest people; 0 = all
            recipe="",  # what happens to pictures and people on the way in: querypose | detr | affine, see recipes/
            # True: nobody whose polygons all have fewer than three points is trained on (COCO; recipe querypose)
            drop_degenerate_polygons=True,
            keep_empty=False,  # True: training uses pictures on which nobody is annotated too, as negatives
            skeleton="coco",  # coco | crowdpose | a group that describes one, see skeletons.described_skeleton
            batch_size=16,  # global, over all devices and hosts
            max_people=100,  # G: slots per picture; the largest people stay when a picture has more
            people_ladder=(),  # most people on a device's part of a training batch, one of these; () = not told
            flip=0.5,  # probability
            crop=0.5,  # probability of resize + random crop before the last resize
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
            # Of the recipe affine:
            rotate=45.0,  # degrees to both sides
            scales=(0.5, 2.0),  # factor
            stretches=(0.95, 1.05),  # further factors of width and of height
            shift=150,  # whole pixels to all sides
            joint_shift=0.2,  # probability that all coordinates grow by 0.5 to 1.5 pixels
            grey=0.02,  # probability
            colour_noise=0.2,  # probability of noise on hue, saturation and value
            hsv_noise=(10.0, 40.0, 30.0),  # to both sides; hue of 0..179, the others of 0..255
            smallest_area=1024.0,  # original pixels squared; people so small or smaller have no labels and do not count
            eval_resize="long",  # long = long side, in the middle of a square | height = height, at the top left
            eval_length=640,  # pixels of that side
            eval_multiple=128,  # pixels of which the canvas' sides are with eval_resize="height"
            block_batches=128,  # pictures are regrouped by canvas inside blocks of this many batches
            workers=8,  # threads that read and transform pictures
        )
    )  # fmt: skip

    config.data.augment = ConfigDict(
        dict(  # in training, beyond the recipe's own, for any recipe; all off
            rotate=0.0,  # degrees to both sides, around the middle
            scales=(1.0, 1.0),  # factor, around the middle; the picture stays as large as it is
            brightness=0.0,  # factor from 1 - this to 1 + this; so are the next two
            contrast=0.0,
            saturation=0.0,
            hue=0.0,  # turns of the colour circle to both sides, at most 0.5
            blur=0.0,  # probability
            blur_sigmas=(0.5, 2.0),  # network pixels
        )
    )

    config.optimizer = ConfigDict(
        dict(
            name="adamw",  # adamw: decoupled decay | adam: L2 decay in the gradients, as torch's Adam
            learning_rate=1e-4,
            rate_factors=(),  # ((text, factor), ...) for parameters whose path holds the text
            weight_decay=1e-4,  # on everything trainable
            clip_norm=1.0,  # global L2 norm; 0 = not clipped
            freeze="",  # regular expression: parameters in whose path it is found do not train ("backbone"); "" = none
            warmup_steps=1000,
            warmup_factor=0.01,  # learning rate factor at step 0
            schedule="steps",  # steps | cosine
            milestones=((110_000, 0.1), (130_000, 0.01)),  # steps: (step, factor of learning_rate from it on), ...
            final_factor=0.01,  # cosine: factor at the last step
        )
    )

    config.train = ConfigDict(
        dict(
            num_steps=140_000,
            seed=40244023,
            # Moving average of the parameters: average += (1 - ema_decay) * (parameters - average) after each step; 0 =
            # none. Where it is on, it is what evaluation, prediction, export and init_from take.
            ema_decay=0.0,
            # Micro-batches that a batch is worked through in, one after the other in the memory of one; the same update
            # to rounding. Refused where batch norm takes its statistics from the whole batch.
            accumulate=1,
            patience=0,  # evaluations without a better keypoint AP after which training ends; 0 = it goes to num_steps
            log_every=50,  # steps
            wandb_project="",  # Weights & Biases: project that the run is logged to as well; "" = none
            checkpoint_every=5000,  # steps
            keep_last=2,  # checkpoints, beside the best one
            max_bad_steps=5,  # a step that is not finite is skipped; so many in a row end the run
            grace_s=30.0,  # seconds from SIGTERM on to save and end; Google's preemptible machines give 30
            heartbeat_s=100,  # seconds after which a silent process counts as dead and the others of its run end
        )
    )

    config.eval = ConfigDict(
        dict(
            every=5000,  # steps; 0 = never during training
            max_pictures=0,  # 0 = all
            # all | with_person: only pictures with somebody on them, as in SimplePose V2's published numbers
            image_filter="all",
            batch_size=1,  # per device
            canvas="ladder",  # ladder (fast) | exact (released protocol; for QueryPose the next multiple of 32 pixels)
            num_drawn=8,  # pictures with poses drawn per evaluation
            draw_threshold=0.3,  # score from which a pose is drawn
            split="",  # of --mode=eval; "" = data.eval_split; test-dev (COCO) writes the zip that the server takes
            flip=False,  # True: poses of the picture and of its mirror image, merged; twice the time
            raw=False,  # True: with train.ema_decay, the parameters without averaging too, as raw/keypoint/AP ...
            prune=False,  # True: only what can be among the 20 best of a picture: same keypoint AP, no box AP
            scorer="pycocotools",  # pycocotools | faster_coco_eval (the same numbers sooner, to be installed)
        )
    )

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
            people=8,  # per picture, where data.people_ladder tells them: COCO has about 4, and devices differ
            hbm_gib=0.0,  # memory of a chip; 0 = that of its kind
            search=False,  # True compiles ZeRO-1 and FSDP too instead of working them out
        )
    )
    return config


def on_synthetic_people(config: ConfigDict) -> None:
    """Sets `config.data` to drawn pictures of 160 x 192 with one to three people, eight to a batch."""
    config.data.update(name="synthetic", root="", batch_size=8, max_people=4, canvases=((160, 192),), workers=2)
    config.data.synthetic = ConfigDict(
        dict(train_pictures=5000, val_pictures=200, height=160, width=192, max_people=3, seed=0)
    )


def resized_whole(config: ConfigDict) -> None:
    """Drawn pictures keep their size and are not cropped, for the recipes that resize by the short side."""
    config.data.update(crop=0.0, short_sides=(160,), eval_short_side=160, longest_side=192)
