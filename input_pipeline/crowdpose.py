"""CrowdPose (Li et al., CVPR 2019): 14 joints, crowded pictures, in the two layouts in which it is distributed:

    <root>/images/*.jpg   <root>/json/crowdpose_{train,val,trainval,test}.json          (the original release)
    <root>/images/*.jpg   <root>/annotations/mmpose_crowdpose_{train,val,...}.json       (mmpose)

The split "trainval", on which the paper trains, is read from a file of its own or, where there is none, from those of
train and val. Annotations have no `area`: evaluation puts 0.53 x width x height of the box in its place, and so does
the index. What the files say in `skeleton` is COCO's and does not fit their joints; it is not read.
"""

from pathlib import Path

from ml_collections import ConfigDict

from input_pipeline.split_files import SplitFiles, check_split, existing_file, existing_folder
from querypose_jax.errors import UserError
from querypose_jax.skeletons import Skeleton

SPLITS = ("train", "val", "trainval", "test")
PLACES = (
    "json/crowdpose_{}.json",
    "annotations/mmpose_crowdpose_{}.json",
    "annotations/crowdpose_{}.json",
    "crowdpose_{}.json",
)
HOW_TO_GET = (
    "CrowdPose is at https://github.com/jeffffffli/CrowdPose; put its images/ and its json files under data.root"
)


def split_files(data: ConfigDict, split: str, skeleton: Skeleton) -> SplitFiles:
    """The files of a split below data.root; raises UserError where they are not there."""
    check_split(split, SPLITS)
    root = Path(data.root)
    return SplitFiles(
        split=split,
        annotations=annotation_files(root, split),
        pictures=existing_folder(root / "images", HOW_TO_GET),
        skeleton=skeleton,
        may_lack=("area",),
    )


def annotation_files(root: Path, split: str) -> tuple[Path, ...]:
    """The file of a split, or those of train and val in the place of trainval."""
    try:
        return (existing_file(places(root, split), HOW_TO_GET),)
    except UserError:
        if split != "trainval":
            raise
        return tuple(existing_file(places(root, part), HOW_TO_GET) for part in ("train", "val"))


def places(root: Path, split: str) -> list[Path]:
    """Where the file of a split may be."""
    return [root / place.format(split) for place in PLACES]
