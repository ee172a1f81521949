"""QueryPose, HRNet-W32 with the plain pyramid, COCO keypoints, 280k steps of 16 pictures.

    python launch.py --config=configs/coco_hrnet_w32.py --workdir=runs/coco_hrnet_w32 \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/hrnet_w32

`configs/coco_hrnet_w32.py` is the light version, as released; `configs/coco_hrnet_w32.py:full` adds the dynamic MLP
and FFN of the pose decoder.

Published (light, the released checkpoint), COCO val2017: AP 69.8 raw, 72.3 after the released rescoring step; 97 ms a
picture. Compare with 69.8 (docs/reproduction.md). The paper has AP 72.4, AP50 89.8, AP75 78.6, APM 67.9, APL 79.7 and
100 ms on one A100, presumably full and after that step.

Hardware: batches of 16; released on 8 GPUs of 2 pictures. Backbone with pyramid 32.38 M parameters. Wall time is not
measured; `--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs import querypose


def get_config(variant: str = "light") -> ConfigDict:
    config = querypose.get_config()
    config.model.light = querypose.is_light(variant)
    config.model.backbone.update(name="hrnet", branch_width=32, pyramid="plain")
    config.optimizer.milestones = ((220_000, 0.1), (260_000, 0.01))
    config.train.num_steps = 280_000
    return config
