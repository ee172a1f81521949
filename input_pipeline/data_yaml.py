"""data.yaml of a data set in YOLO's form, read with `yaml.safe_load`: plain values, nothing that could become code.

path: ..                      where the other paths count from; left out: the folder of this file
train: images/train           a folder, a list of folders, or a text file with a path per line
val: images/val
kpt_shape: [17, 3]            joints; 3: x, y, visibility, 2: x, y
flip_idx: [0, 2, 1, ...]      joint j of the mirrored picture is joint flip_idx[j]; may be missing
names: {0: person}            or a list; in the order of the labels
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from input_pipeline.coco_file import short
from querypose_jax.errors import UserError

LONGEST_WORD = 1000  # characters of a value without quotes; a number of more may take for ever to make
DEEPEST = 20  # values in values; a reader of YAML takes time with the square of it
LARGEST_FILE = 2**20  # bytes; such a file has a few hundred, some thousand with many classes
OPENING = (
    yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken, yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken,
)  # fmt: skip
CLOSING = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
SPLITS = ("train", "val", "test", "trainval")  # the last one is CrowdPose's


class DataYaml(NamedTuple):
    """What the file says."""

    file: Path
    base: Path
    """The folder that `path` names."""
    splits: dict[str, tuple[str, ...]]
    """Split -> folders or text files, as they are written."""
    joints: int
    has_visibility: bool
    flip_index: tuple[int, ...] | None
    classes: tuple[str, ...]
    joint_names: tuple[str, ...] | None
    """`kpt_names`, where the file has them: a list, or one for the first class."""


def read_data_yaml(path: Path) -> DataYaml:
    """Reads and checks the file.

    Raises:
        UserError: no YAML, or something is missing or of another form; in one line.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path}: has more than {LARGEST_FILE:,} bytes, which no data.yaml needs")
    try:
        text = path.read_text(encoding="utf-8")
        refused = first_refusal(yaml.scan(text))
        content = None if refused else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not YAML ({short(error)})") from None
    if refused:
        raise UserError(f"{path}: {refused}")
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no data.yaml: it needs kpt_shape, names and a folder of pictures for train")
    joints, numbers = checked_shape(content.get("kpt_shape"), path)
    root = content.get("path") or "."
    if not isinstance(root, str) or not root.isprintable():
        raise UserError(f"{path}: path must be the name of a folder, not {short(root)}")
    return DataYaml(
        file=path,
        base=Path(os.path.abspath(path.parent / root)),
        splits={split: checked_places(content[split], split, path) for split in SPLITS if content.get(split)},
        joints=joints,
        has_visibility=numbers == 3,
        flip_index=checked_flip(content.get("flip_idx"), joints, path),
        classes=checked_names(content.get("names"), "names", path),
        joint_names=checked_joint_names(content.get("kpt_names"), joints, path),
    )


def first_refusal(tokens: Iterator[Any]) -> str:
    """What is wrong with a file of YAML before anything is made of it; "" where nothing is. Reads no further."""
    depth = 0
    for token in tokens:
        depth += isinstance(token, OPENING) - isinstance(token, CLOSING)
        if depth > DEEPEST:
            return f"has values in values in values, more than {DEEPEST} deep, which no data.yaml needs"
        if found := refusal(token):
            return found
    return ""


def refusal(token: Any) -> str:
    """What is wrong with a token of YAML; "" of one that may be in a data.yaml."""
    if isinstance(token, yaml.AliasToken):  # a few lines of them stand for more values than any memory holds
        return "has YAML aliases (*name); write out what they stand for"
    if isinstance(token, yaml.ScalarToken) and token.plain and len(token.value) > LONGEST_WORD:
        return f"has a value of {len(token.value):,} characters; put a text of this length in quotes"
    return ""


def checked_shape(value: Any, path: Path) -> tuple[int, int]:
    """Number of joints, and of numbers for each."""
    fits = isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value)
    if not fits or value[0] < 1 or value[1] not in (2, 3):
        raise UserError(
            f"{path}: kpt_shape must be [joints, 2 or 3], not {short(value)}; data without joints do not do"
        )
    return value[0], value[1]


def checked_places(value: Any, split: str, path: Path) -> tuple[str, ...]:
    """The folders or text files of a split; UserError for what are none."""
    places = value if isinstance(value, list) else [value]
    if not all(isinstance(place, str) and place.isprintable() for place in places):
        raise UserError(f"{path}: {split} must be a folder, a list of folders or a text file, not {short(value)}")
    return tuple(places)


def checked_flip(value: Any, joints: int, path: Path) -> tuple[int, ...] | None:
    """A permutation that undoes itself."""
    if value is None:
        return None
    is_whole = isinstance(value, list) and len(value) == joints and all(type(j) is int for j in value)
    if not is_whole or sorted(value) != list(range(joints)) or any(value[value[j]] != j for j in range(joints)):
        raise UserError(f"{path}: flip_idx must pair the {joints} joints of kpt_shape, not {short(value)}")
    return tuple(value)


def checked_names(value: Any, key: str, path: Path) -> tuple[str, ...]:
    """Of a list, or of a dict that counts from 0."""
    if isinstance(value, dict) and sorted(value, key=str) == sorted(range(len(value)), key=str):
        value = [value[i] for i in range(len(value))]
    if not isinstance(value, list) or not value or len({str(name) for name in value}) < len(value):
        raise UserError(f"{path}: {key} must be a list, or count from 0, and differ: {short(value)}")
    return tuple(map(str, value))


def checked_joint_names(value: Any, joints: int, path: Path) -> tuple[str, ...] | None:
    """The names of the joints, None where the file has none; UserError where they are not as many as kpt_shape says."""
    if isinstance(value, dict):
        value = value.get(0)
    if value is None:
        return None
    names = checked_names(value, "kpt_names", path)
    if len(names) != joints:
        raise UserError(f"{path}: kpt_names has {len(names)} names, kpt_shape {joints} joints")
    return names


def write_data_yaml(
    path: Path, splits: dict[str, str], joint_names: tuple[str, ...], flip_index: tuple[int, ...], classes: list[str]
) -> None:
    """Writes a file that `read_data_yaml` reads as given; texts in quotes, which YAML has from JSON."""
    quoted = [f"  {i}: {_quoted(name)}" for i, name in enumerate(classes)]
    listed = [f"    - {_quoted(name)}" for name in joint_names]
    lines = [
        *(f"{split}: {_quoted(place)}" for split, place in splits.items()),
        f"kpt_shape: [{len(joint_names)}, 3]",
        f"flip_idx: {list(flip_index)}",
        "names:",
        *quoted,
        "kpt_names:",
        "  0:",
        *listed,
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
