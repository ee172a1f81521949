"""The user's own data in COCO form; config.data.custom says where it is (docs/custom_data.md).

config.data.custom = dict(
    train=("annotations/train.json", "pictures"),   # annotation file and folder of pictures, below data.root
    val=("annotations/val.json", "pictures"),
    categories=("dog", "cat"),                       # classes in the order of the labels; () = all, by id
)
"""

from pathlib import Path

from ml_collections import ConfigDict

from input_pipeline.split_files import SplitFiles, check_split, existing_file, existing_folder
from querypose_jax.errors import UserError
from querypose_jax.skeletons import Skeleton

MAY_LACK = ("keypoints", "area", "iscrowd", "num_keypoints")  # often left out by annotation tools


def split_files(data: ConfigDict, split: str, skeleton: Skeleton) -> SplitFiles:
    """The files of a split below data.root; raises UserError where they are not there."""
    if "custom" not in data:
        raise UserError("the config has no group data.custom that names files; start from configs/custom_example.py")
    check_split(split, [name for name in data.custom if name != "categories"])
    place = data.custom[split]
    if not isinstance(place, tuple | list) or len(place) != 2:
        raise UserError(f"config.data.custom.{split} must be a pair: annotation file, folder of pictures")
    root, where = Path(data.root), f"config.data.custom.{split} names it (data.root is {data.root!r})"
    return SplitFiles(
        split=split,
        annotations=(existing_file([root / place[0]], where),),
        pictures=existing_folder(root / place[1], where),
        skeleton=skeleton,
        categories=tuple(data.custom.get("categories", ())),
        may_lack=MAY_LACK,
        judges_polygons=False,  # who has a box and joints is a person, whatever a tool wrote as segmentation
    )
