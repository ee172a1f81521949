"""QueryPose, ResNet-50-FPN, CrowdPose: 14 joints, trained on train + val, evaluated on test, 140k steps of 16 pictures.

    python launch.py --config=configs/crowdpose_r50.py --workdir=runs/crowdpose_r50 \
        --config.data.root=/path/to/crowdpose --config.init_from=/path/to/imported/resnet50

`configs/crowdpose_r50.py` is the full version; `configs/crowdpose_r50.py:light` drops the dynamic MLP and FFN of the
pose decoder.

The released code has no configuration for CrowdPose: schedule and augmentation are those of COCO. Nothing is published
for this backbone; the paper's larger ones reach AP 72.1 (configs/crowdpose_hrnet_w48.py) and 72.7
(configs/crowdpose_swin_l.py). Nothing has been trained on CrowdPose here.
"""

from ml_collections import ConfigDict

from configs import querypose


def get_config(variant: str = "full") -> ConfigDict:
    config = querypose.get_config()
    config.model.light = querypose.is_light(variant)
    crowdpose_data(config)
    return config


def crowdpose_data(config: ConfigDict) -> None:
    """The data group of all CrowdPose configurations."""
    config.data.update(
        name="crowdpose",
        root="data/crowdpose",  # folder with images/ and json/ (original) or annotations/ (mmpose)
        train_split="trainval",  # 12,000 pictures
        eval_split="test",  # 8,000 pictures
        skeleton="crowdpose",
    )
