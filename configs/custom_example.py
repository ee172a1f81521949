"""An example of one's own data: insects of two kinds with 9 joints, in files of COCO's form. docs/custom_data.md.

    python launch.py --config=configs/custom_example.py --workdir=runs/insects --config.data.root=/path/to/insects

The model is the small one of configs/synthetic_tiny.py; for photos start from coco_r50.get_config() instead.
"""

from ml_collections import ConfigDict

from configs import synthetic_tiny

CATEGORIES = ("beetle", "ant")  # names in the annotation file, in the order of the labels


def get_config() -> ConfigDict:
    config = synthetic_tiny.get_config()
    del config.data.synthetic, config.data.skeleton

    config.model.num_classes = len(CATEGORIES)
    config.data.update(name="custom", root="data/insects")
    config.data.custom = ConfigDict(
        dict(
            train=("annotations/train.json", "pictures"),  # annotation file, folder of pictures, below data.root
            val=("annotations/val.json", "pictures"),
            categories=CATEGORIES,
        )
    )
    config.data.skeleton = ConfigDict(
        dict(
            name="insect",
            names=(  # in the order of the annotation file
                "head", "middle", "tail", "left_front", "right_front", "left_hind", "right_hind",
                "left_feeler", "right_feeler",
            ),
            sigmas=(0.05, 0.07, 0.05, 0.08, 0.08, 0.08, 0.08, 0.06, 0.06),  # how exactly people place each joint
            flip_pairs=(("left_front", "right_front"), ("left_hind", "right_hind"), ("left_feeler", "right_feeler")),
            edges=(
                ("head", "middle"), ("middle", "tail"), ("middle", "left_front"), ("middle", "right_front"),
                ("tail", "left_hind"), ("tail", "right_hind"), ("head", "left_feeler"), ("head", "right_feeler"),
            ),
            # parts=(("body", ("head", "middle", "tail")), ...),  # regressed together; left out: one part per joint
        )
    )  # fmt: skip
    return config
