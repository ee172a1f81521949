"""QueryPose, ResNet-101-FPN, COCO keypoints, 140k steps of 16 pictures.

    python launch.py --config=configs/coco_r101.py --workdir=runs/coco_r101 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/resnet101

`configs/coco_r101.py` is the full version, as released; `configs/coco_r101.py:light` drops the dynamic MLP and FFN of
the pose decoder.

Nothing is published for this backbone: the release only mentions it. The schedule is that of ResNet-50.

Hardware: batches of 16; released on 8 GPUs of 2 pictures. Backbone with pyramid 45.74 M parameters. Wall time is not
measured; `--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs import querypose


def get_config(variant: str = "full") -> ConfigDict:
    config = querypose.get_config()
    config.model.light = querypose.is_light(variant)
    config.model.backbone.update(name="resnet", depth=101)
    return config
