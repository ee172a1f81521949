"""QueryPose, ResNet-50-FPN, COCO keypoints, 140k steps of 16 pictures.

    python launch.py --config=configs/coco_r50.py --workdir=runs/coco_r50 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/resnet50

`configs/coco_r50.py` is the full version, as released; `configs/coco_r50.py:light` drops the dynamic MLP and FFN of
the pose decoder.

Published (full), COCO val2017, in the paper: AP 68.7, AP50 88.6, AP75 74.4, APM 63.8, APL 76.5; 70 ms a picture on one
A100. Presumably after the released rescoring step, which gains about two points by an artefact (docs/reproduction.md):
the raw number is not published; with the gap of the other models it would be near 66.

Hardware: batches of 16; released on 8 GPUs of 2 pictures. Backbone with pyramid 26.80 M parameters. Wall time is not
measured; `--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs import querypose


def get_config(variant: str = "full") -> ConfigDict:
    config = querypose.get_config()
    config.model.light = querypose.is_light(variant)
    config.model.backbone.update(name="resnet", depth=50)
    return config
