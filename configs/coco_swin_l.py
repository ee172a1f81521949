"""QueryPose, Swin-L-FPN, COCO keypoints, 280k steps of 16 pictures.

    python launch.py --config=configs/coco_swin_l.py --workdir=runs/coco_swin_l \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/swin_l

`configs/coco_swin_l.py` is the full version, as released; `configs/coco_swin_l.py:light` drops the dynamic MLP and
FFN of the pose decoder.

Published (full, the released checkpoint), COCO val2017: AP 71.2 raw, 73.3 after the released rescoring step; 110 ms a
picture. Compare with 71.2 (docs/reproduction.md). The paper has the same AP 73.3 with AP50 91.3, AP75 79.5, APM 68.5,
APL 81.2 and 117 ms on one A100; on test-dev 72.2, 92.0, 78.8, 67.3, 79.4.

Hardware: batches of 16; released on 8 GPUs of 2 pictures. Backbone with pyramid 198.10 M parameters. Wall time has not
been measured; `--mode=plan` says what a TPU slice would hold.
"""

from ml_collections import ConfigDict

from configs import querypose


def get_config(variant: str = "full") -> ConfigDict:
    config = querypose.get_config()
    config.model.light = querypose.is_light(variant)
    config.model.backbone.update(name="swin", size="L")
    config.optimizer.milestones = ((220_000, 0.1), (260_000, 0.01))
    config.train.num_steps = 280_000
    return config
