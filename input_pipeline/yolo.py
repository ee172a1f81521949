"""A folder in YOLO's form for poses, read as it is: data.root is the folder of data.yaml, or the file itself.

Labels are where `images` in the path of a picture is `labels`, or in the folder `labels` beside data.yaml, or beside
the picture; a picture without a label file has nobody on it. What YOLO's form does not hold is worked out: areas are
0.53 x box, nobody is a crowd, ids count from 1 (or are the pictures' names, where all of those are numbers).
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from ml_collections import ConfigDict

from input_pipeline.coco_file import LARGEST_ID
from input_pipeline.custom import MAY_LACK
from input_pipeline.data_yaml import DataYaml, read_data_yaml
from input_pipeline.picture_names import is_name
from input_pipeline.split_files import SplitFiles, check_split, existing_file
from input_pipeline.yolo_labels import read_labels
from querypose_jax.errors import UserError, one_line
from querypose_jax.pictures import open_file, orientation
from querypose_jax.skeletons import Skeleton

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".ppm", ".heic",
}  # fmt: skip
LYING = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
UNKNOWN = (1, 1)  # size of what is no picture: preparation finds out, and leaves it out or refuses it


def split_files(data: ConfigDict, split: str, skeleton: Skeleton) -> SplitFiles:
    """The files of a split; raises UserError where they are not there or mean other joints than the configuration's."""
    root = Path(data.root)
    places = [root] if root.suffix in (".yaml", ".yml") else [root / "data.yaml", root / "data.yml"]
    about = read_data_yaml(existing_file(places, "data.root names the folder of a YOLO data set's data.yaml"))
    check_joints(about, skeleton)
    check_split(split, about.splits)
    pictures = find_pictures(about, split)
    labels = [label_of(about, picture) for picture in pictures]
    if not any(labels):
        looked = ", ".join(one_line(path, 200) for path in candidates(about, pictures[0]))
        raise UserError(f"{about.file}: no picture of {split} has a label file; of the first one it would be {looked}")
    folder = Path(os.path.commonpath([picture.parent for picture in pictures]))
    named = hashlib.sha256("\n".join(str(picture.relative_to(folder)) for picture in pictures).encode())
    return SplitFiles(
        split=split,
        annotations=(about.file, *filter(None, labels)),
        pictures=folder,
        skeleton=skeleton,
        may_lack=MAY_LACK,
        judges_polygons=False,
        lists=partial(make_lists, about, pictures, labels, folder),
        key=named.hexdigest(),
    )


def check_joints(about: DataYaml, skeleton: Skeleton) -> None:
    """Raises UserError where joints are not as many as the skeleton's, or others change places in a mirror."""
    if about.joints != skeleton.num_keypoints:
        raise UserError(
            f"{about.file}: kpt_shape has {about.joints} joints, config.data.skeleton ({skeleton.name}) "
            f"{skeleton.num_keypoints}; describe your own there (docs/custom_data.md)"
        )
    if about.flip_index is not None and about.flip_index != skeleton.flip_index:
        j = next(j for j, other in enumerate(about.flip_index) if other != skeleton.flip_index[j])
        raise UserError(
            f"{about.file}: flip_idx takes joint {j} ({skeleton.names[j]}) to {about.flip_index[j]}, "
            f"config.data.skeleton to {skeleton.flip_index[j]}; make its names and flip_pairs those of the file"
        )


def find_pictures(about: DataYaml, split: str) -> list[Path]:
    """The pictures of a split, each once, by path; raises UserError where there are none."""
    found: set[Path] = set()
    for place in about.splits[split]:
        path = existing_place(about, place)
        if path.is_dir():
            found.update(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("._"))
        else:
            found.update(listed_pictures(about, path))
    if not found:
        raise UserError(f"{about.file}: there are no pictures in {', '.join(about.splits[split])} ({split})")
    return sorted({Path(os.path.abspath(picture)) for picture in found})


def existing_place(about: DataYaml, place: str) -> Path:
    """A folder or file that data.yaml names. Exports write paths for where they were made: `../train/images` beside the
    file, or a `path` of another machine."""
    parts = [part for part in Path(place).parts if part != ".."]
    tried = [about.base / place, about.file.parent / place, about.file.parent.joinpath(*parts)]
    for path in tried:
        with suppress(OSError):  # a name that is too long for the system
            if path.exists():
                return path
    others = " nor at ".join(one_line(path, 200) for path in dict.fromkeys(tried))
    raise UserError(f"{about.file}: {one_line(place)} is neither at {others}")


def listed_pictures(about: DataYaml, path: Path) -> Iterator[Path]:
    """Of a text file with a path per line, relative to `path` of data.yaml or, with ./ in front, to the text file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: must be a folder of pictures, or a text file in UTF-8 with a path per line") from None
    for number, line in enumerate(map(str.strip, lines), 1):
        picture = Path(os.path.abspath((path.parent if line.startswith("./") else about.base) / line))
        if line and not (is_name(line) and picture.name):
            raise UserError(f"{path}, line {number}: {one_line(line)} is no path of a picture")
        if line:
            yield picture


def label_of(about: DataYaml, picture: Path) -> Path | None:
    """The label file of a picture; None where it has none."""
    for path in candidates(about, picture):
        with suppress(OSError):  # a name that is too long for the system
            if path.is_file():
                return path
    return None


def candidates(about: DataYaml, picture: Path) -> list[Path]:
    """Where the label file of a picture may be."""
    places, parts = [], list(picture.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        places.append(Path(*parts[:last], "labels", *parts[last + 1 :]))
    if picture.is_relative_to(about.base):
        places.append(about.file.parent / "labels" / picture.relative_to(about.base))
    return [path.with_suffix(".txt") for path in (*places, picture)]


def make_lists(about: DataYaml, pictures: Sequence[Path], labels: Sequence[Path | None], folder: Path) -> dict:
    """The lists of a file in COCO form; raises UserError for a line that is no label."""
    numbers = [int(p.stem) if p.stem.isascii() and p.stem.isdecimal() else -1 for p in pictures]
    are_ids = len(set(numbers)) == len(numbers) and all(0 <= n <= LARGEST_ID["image"] for n in numbers)
    images: list[dict] = []
    annotations: list[dict] = []
    for place, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        size = upright_size(picture)
        image = dict(id=numbers[place] if are_ids else place + 1, file_name=picture.relative_to(folder).as_posix())
        images.append(image | dict(height=size[0], width=size[1]))
        read = [] if label is None else read_labels(label, size, about.joints, about.has_visibility, len(about.classes))
        for index, bbox, keypoints in read:
            entry = dict(id=len(annotations) + 1, image_id=image["id"], category_id=index + 1)
            annotations.append(entry | dict(bbox=bbox, keypoints=keypoints))
    joints = {} if about.joint_names is None else {"keypoints": list(about.joint_names)}
    categories = [dict(id=index + 1, name=name) | joints for index, name in enumerate(about.classes)]
    return dict(images=images, annotations=annotations, categories=categories)


def upright_size(picture: Path) -> tuple[int, int]:
    """h, w of a picture file after its EXIF orientation, from its head; UNKNOWN where it is none."""
    try:
        with open_file(picture) as opened:
            width, height = opened.size
            return (width, height) if orientation(opened) in LYING else (height, width)
    except Exception:  # damaged pictures fail in every way there is
        return UNKNOWN
