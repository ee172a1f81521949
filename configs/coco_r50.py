"""QueryPose, ResNet-50-FPN, COCO keypoints, 140k steps of 16 pictures.

    python launch.py --config=configs/coco_r50.py --workdir=runs/coco_r50 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/resnet50

`configs/coco_r50.py` is the full version, as released; `configs/coco_r50.py:light` drops the dynamic MLP and FFN of
the pose decoder.

Published (full): keypoint AP 68.7 in the paper, after the released rescoring step, which gains about two points by an
artefact (docs/reproduction.md). The raw number is not published; with the gap of the other models it would be near
66.

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
