"""QueryPose, Swin-B-FPN, COCO keypoints, 270k steps of 16 pictures.

    python launch.py --config=configs/coco_swin_b.py --workdir=runs/coco_swin_b \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/swin_b

`configs/coco_swin_b.py` is the full version, as released; `configs/coco_swin_b.py:light` drops the dynamic MLP and
FFN of the pose decoder.

No AP is published for this backbone. The released config names the Swin-T trunk beside a Swin-B file and cannot load
it; this one is the Swin-B.

Hardware: batches of 16; released on 8 GPUs of 2 pictures. Backbone with pyramid 89.60 M parameters. Wall time is not
measured; `--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs import querypose


def get_config(variant: str = "full") -> ConfigDict:
    config = querypose.get_config()
    config.model.light = querypose.is_light(variant)
    config.model.backbone.update(name="swin", size="B")
    config.optimizer.milestones = ((210_000, 0.1), (250_000, 0.01))
    config.train.num_steps = 270_000
    return config
