"""QueryPose, HRNet-W48 with the v1 pyramid, COCO keypoints, 280k steps of 16 pictures.

    python launch.py --config=configs/coco_hrnet_w48.py --workdir=runs/coco_hrnet_w48 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/hrnet_w48

`configs/coco_hrnet_w48.py` is the full version, as released; `configs/coco_hrnet_w48.py:light` drops the dynamic MLP
and FFN of the pose decoder.

Published, COCO val2017: the released checkpoint is light although its config is full: AP 71.0 raw, 73.4 after the
released rescoring step, 101 ms a picture, both light; take `:light` to evaluate it. The paper has AP 73.6, AP50 90.3,
AP75 79.7, APM 69.3, APL 80.8 and 105 ms on one A100, presumably full and after that step (docs/reproduction.md); on
test-dev 72.3, 91.5, 78.7, 67.8, 79.0.

Hardware: batches of 16; released on 8 GPUs of 2 pictures. Backbone with pyramid 68.64 M parameters. Wall time is not
measured; `--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs import querypose


def get_config(variant: str = "full") -> ConfigDict:
    config = querypose.get_config()
    config.model.light = querypose.is_light(variant)
    config.model.backbone.update(name="hrnet", branch_width=48, pyramid="v1")
    config.optimizer.milestones = ((220_000, 0.1), (260_000, 0.01))
    config.train.num_steps = 280_000
    return config
