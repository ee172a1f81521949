"""QueryPose, HRNet-W48 with the v1 pyramid, COCO keypoints, 280k steps of 16 pictures.

    python launch.py --config=configs/coco_hrnet_w48.py --workdir=runs/coco_hrnet_w48 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/hrnet_w48

`configs/coco_hrnet_w48.py` is the full version, as released; `configs/coco_hrnet_w48.py:light` drops the dynamic MLP
and FFN of the pose decoder.

Published: the released checkpoint is light although its config is full: keypoint AP 71.0 raw, 73.4 after the released
rescoring step, both light; take `:light` to evaluate it. The paper's 73.6 (full) is after that step
(docs/reproduction.md).

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
