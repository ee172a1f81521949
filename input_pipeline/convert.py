"""Annotations from one form into another, to the last bit: COCO's (and all that is read as such) and YOLO's for poses.

    python -m input_pipeline.convert --config=configs/X.py --to=yolo --output=DIR [--splits=train,val]
    python -m input_pipeline.convert --config=configs/X.py --to=coco --output=DIR --config.data.name=yolo
        --config.data.root=DIR

Reads what config.data names. To YOLO, DIR gets data.yaml, labels/SPLIT/*.txt and images/SPLIT with links to the
pictures; to COCO, annotations/SPLIT.json. Pictures stay where they are. YOLO's form has neither areas nor crowds nor
ids: what is lost is said.
"""

import shutil
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from input_pipeline.annotations import Annotations, ground_truth, objects_of
from input_pipeline.coco_file import find_problems
from input_pipeline.data_yaml import write_data_yaml
from input_pipeline.loader import FILES
from input_pipeline.skipping import as_text
from input_pipeline.split_files import SplitFiles, read_content, usable_split
from input_pipeline.yolo_labels import written_line
from querypose_jax import command_line
from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.skeletons import get_skeleton


def define_flags(**values: flags.FlagValues) -> None:
    """The flags beside --config."""
    flags.DEFINE_string("output", None, "folder to write, must not exist", required=True, **values)
    flags.DEFINE_enum("to", None, ["coco", "yolo"], "form to write", required=True, **values)
    flags.DEFINE_list("splits", [], "default: data.train_split and data.eval_split", **values)


def main(options: flags.FlagValues) -> int:
    """Writes the folder; UserError where it exists already or a split cannot be read or written."""
    data, output = options.config.data, Path(options.output)
    if output.exists():
        raise UserError(f"{output}: exists already; name another folder or remove it")
    splits = options.splits or list(dict.fromkeys((data.train_split, data.eval_split)))
    read = {split: read_one(data, split) for split in splits}
    partial = output.with_name(output.name + ".partial")  # the folder appears when it is complete
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (write_yolo if options.to == "yolo" else write_coco)(read, partial)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{output}: the same in {options.to.upper()}'s form")
    return 0


def read_one(data: ConfigDict, split: str) -> tuple[SplitFiles, Annotations]:
    """A split as the loader would read it; raises UserError for what it would refuse, and for drawn pictures."""
    if data.name not in FILES:
        raise UserError(f"data.name {data.name!r} has no annotation files; those with files: {', '.join(FILES)}")
    files = FILES[data.name](data, split, get_skeleton(data.skeleton))
    content = read_content(files)
    annotations, skipped = usable_split(files, content, find_problems(content.lists, files.skeleton))
    for line in filter(None, (*content.said, as_text(skipped))):
        print(f"{split}: {line}", file=sys.stderr)
    return files, annotations


def write_coco(read: dict[str, tuple[SplitFiles, Annotations]], output: Path) -> None:
    """annotations/SPLIT.json; says where the pictures of each are."""
    for split, (files, annotations) in read.items():
        write_json(output / "annotations" / f"{split}.json", ground_truth(annotations, files.skeleton))
        print(f"{split}: pictures are in {files.pictures}; {counted(annotations)}")


def write_yolo(read: dict[str, tuple[SplitFiles, Annotations]], output: Path) -> None:
    """data.yaml, labels and links to the pictures. Says what this form has no place for.

    Raises:
        UserError: splits of other classes, or two pictures of one name but for the suffix, whose labels would be one
            file.
    """
    classes: list[str] = []
    for split, (files, annotations) in read.items():
        names = annotations.category_names.tolist()
        classes = classes or names
        if sorted(names) != sorted(classes):
            raise UserError(f"{split} has the classes {', '.join(names)}, another split {', '.join(classes)}")
        labels = [Path(str(name)).with_suffix(".txt") for name in annotations.file_name]
        if len(set(labels)) < len(labels):
            raise UserError(f"{split}: two pictures differ by their suffix only, and would share a label file")
        label_of = [classes.index(name) for name in names]
        for row, label in enumerate(labels):
            write_labels(annotations, row, label_of, output / "labels" / split / label)
            name = str(annotations.file_name[row])
            link = output / "images" / split / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((files.pictures / name).resolve())
        print(f"{split}: {counted(annotations)}; left out: {int(annotations.is_crowd.sum())} crowds, all areas and ids")
    skeleton = next(iter(read.values()))[0].skeleton
    write_data_yaml(
        output / "data.yaml", {split: f"images/{split}" for split in read}, skeleton.names, skeleton.flip_index, classes
    )


def write_labels(annotations: Annotations, row: int, label_of: list[int], path: Path) -> None:
    """The people of a picture, crowds left out; an empty file where there is nobody."""
    size = tuple(annotations.size[row].tolist())
    objects = range(len(annotations.label))[objects_of(annotations, row)]
    lines = [
        written_line(label_of[annotations.label[o]], annotations.bbox[o], annotations.keypoints[o], size)
        for o in objects
        if not annotations.is_crowd[o]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines))


def counted(annotations: Annotations) -> str:
    """How much there is, in words."""
    return f"{annotations.num_pictures} pictures, {len(annotations.label)} annotations"


if __name__ == "__main__":
    sys.exit(command_line.run(main, __doc__, define_flags))
