"""ED-Pose, ResNet-50, Human-Art together with COCO: people in paintings, sculptures, cartoons and photos, 17 joints.

    python launch.py --config=configs/edpose/human_art_r50.py --workdir=runs/edpose_human_art \
        --config.data.root=/path/to/folder --config.init_from=/path/to/imported/resnet50

Human-Art's files have COCO's form and COCO's joints. Its authors put out one annotation file of both data sets; where
yours lie elsewhere, say so with --config.data.custom.train and .val (annotation file and folder of pictures below
data.root).

Published: AP 72.3 on Human-Art's validation pictures (AP50 86.1, AP75 77.4, AR 80.8), 72.4 on COCO's (AP50 89.8, AP75
79.4, AR 79.9). The schedule is not published: the number of steps here is that of COCO alone. Neither the file names
nor the training have been tried here.
"""

from ml_collections import ConfigDict

from configs.edpose import coco_r50


def get_config() -> ConfigDict:
    config = coco_r50.get_config()
    config.data.update(name="custom", root="data/human_art")
    config.data.custom = ConfigDict(
        dict(
            train=("annotations/training_humanart_coco.json", "images"),
            val=("annotations/validation_humanart.json", "images"),
            categories=("person",),
        )
    )
    return config
