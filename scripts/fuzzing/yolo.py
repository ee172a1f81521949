"""Damaged folders in YOLO's form: data.yaml, a text file that lists pictures; and label files."""

import json
import random
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from PIL import Image

from input_pipeline import yolo
from input_pipeline.custom import MAY_LACK
from input_pipeline.data_yaml import DataYaml
from input_pipeline.split_files import SplitFiles, read_split
from querypose_jax.skeletons import get_skeleton
from scripts.fuzzing.annotations import config_of_plans, use_index
from scripts.fuzzing.damage import damaged, damaged_tree

PICTURES = ("a.png", "b.png")  # 80 x 60, of both splits; b has no label file where there is none among the files
Files = dict[str, bytes]
CONFIG = config_of_plans(
    ConfigDict(
        dict(
            names=("left", "right", "tail"),
            sigmas=(0.05, 0.05, 0.05),
            flip_pairs=(("left", "right"),),
            edges=(("left", "tail"), ("right", "tail")),
        )
    )
)
SKELETON = get_skeleton(CONFIG.data.skeleton)


class Labels(NamedTuple):
    """A label file and how many numbers it has for each joint."""

    numbers: int
    content: bytes


WORDS = (
    "0", "1", "-1", "0.5", "1.5", "2", "1e9", "-1e-30", "1e400", "1e999999", "1e999999999999", "nan", "-nan", "sNaN",
    "snan123", "inf", "-Infinity", "0x10", "1_0", "٣", "0" * 3000, "9" * 5000, "0." + "1" * 5000, "x", "\x1b[2J",
    "\x00",
)  # fmt: skip
LINES = (
    "images/train/a.png", "./images/train/b.png", "../a.png", "/etc/passwd", "a\x1b[2Jb.png", "a\x00.png", "", " ",
    "x" * 300, "x" * 5000 + "/a.png", "images/train/\u2028.png", "../" * 50 + "a.png", "images\\train\\a.png",
)  # fmt: skip
TOKENS = (
    "&a [1]", "*a", "!!python/object:os.system x", "!!binary x", "!!set {a}", "<<: {a: 1}", "2001-13-45", "1:59:59",
    "0o17", "? [a]", "---", "%TAG ! x", '"\\e[2J"', "[" * 3000, "|\n  x", "\u2028", "\x1b[2J", "\x00", "\t", "'",
    "null", "~", "1e999",
)  # fmt: skip


def sound_yaml(rng: random.Random) -> dict[str, Any]:
    """What data.yaml says, in one of its spellings."""
    content: dict[str, Any] = {
        "train": rng.choice(("images/train", ["images/train", "images/val"], "list.txt", "../images/train")),
        "val": "images/val",
        "kpt_shape": [SKELETON.num_keypoints, rng.choice((2, 3))],
        "flip_idx": list(SKELETON.flip_index),
        "names": rng.choice((["person", "dog"], {0: "person", 1: "dog"})),
    }
    if rng.random() < 0.3:
        content |= {"path": rng.choice((".", "..", "/nowhere")), "kpt_names": {0: list(SKELETON.names)}}
    return content


def yaml_text(tree: Any, rng: random.Random) -> bytes:
    """JSON is YAML but for keys, which json makes texts of; a line each, so that damage to one leaves the others."""
    if not isinstance(tree, dict):
        return json.dumps(tree).encode()
    lines = []
    for key, value in tree.items():
        if key in ("names", "kpt_names") and isinstance(value, dict):
            value = "{" + ", ".join(f"{name}: {json.dumps(text)}" for name, text in value.items()) + "}"
        else:
            value = json.dumps(value, ensure_ascii=rng.random() < 0.5)
        lines.append(f"{key}: {value}")
    return "\n".join(lines).encode(errors="surrogatepass")


def label_text(numbers: int, rng: random.Random) -> str:
    """A line per person, sound but for some words, and sometimes of another length."""
    lines = []
    for _ in range(rng.randint(0, 3)):
        x, y, side = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.4)
        joint = [f"{x:.6f}", f"{y:.6f}", str(rng.randrange(3))][:numbers]
        joints = rng.choice((joint * SKELETON.num_keypoints, []))
        words = [str(rng.randrange(2)), f"{x:.6f}", f"{y:.6f}", f"{side:.6f}", f"{side:.6f}", *joints]
        for _ in range(rng.choice((0, 0, 1, 3))):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        if rng.random() < 0.05:
            words.insert(rng.randrange(len(words)), rng.choice(WORDS))
        lines.append(" ".join(words))
    return rng.choice(("\n", "\r\n", "\n\n")).join(lines)


def yolo_files(rng: random.Random) -> Files:
    """data.yaml and the text file that may list the pictures; one of them is damaged, or its words are."""
    content: Any = sound_yaml(rng)
    kind = rng.choice(("tree", "tree", "yaml", "yaml", "token", "list"))
    if kind == "tree":
        content = damaged_tree(content, rng)
    text = yaml_text(content, rng)
    if kind == "yaml":
        text = damaged(text, rng)
    if kind == "token":
        words = text.split(b" ")
        words[rng.randrange(len(words))] = rng.choice(TOKENS).encode()
        text = b" ".join(words)
    listed = [rng.choice(LINES) if kind == "list" else LINES[0] for _ in range(rng.randint(1, 3))]
    return {"data.yaml": text, "list.txt": "\n".join(listed).encode()}


def label_files(rng: random.Random) -> Labels:
    """The label file of one of two pictures."""
    numbers = rng.choice((2, 3))
    text = label_text(numbers, rng).encode()
    return Labels(numbers, damaged(text, rng) if text and rng.random() < 0.3 else text)


def make_pictures(folder: Path) -> None:
    """What the folder has beside; once."""
    for split in ("train", "val"):
        for place in (folder / "images" / split, folder / "labels" / split):
            place.mkdir(parents=True, exist_ok=True)
        for name in PICTURES:
            if not (path := folder / "images" / split / name).exists():
                Image.new("RGB", (80, 60)).save(path)
        (folder / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")


def use_yolo(files: Files, folder: Path, rng: random.Random) -> None:
    """Writes the files and does with a split what training, the check and an evaluation do."""
    if not (folder / "images").exists():
        make_pictures(folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    data = ConfigDict({"root": str(folder)})
    split = rng.choice(("train", "train", "val", "test"))
    use_index(read_split(yolo.split_files(data, split, SKELETON)), CONFIG)


def use_labels(labels: Labels, folder: Path, rng: random.Random) -> None:
    """As `use_yolo`, of a sound data.yaml that need not be read."""
    if not (folder / "images").exists():
        make_pictures(folder)
    pictures, file = folder / "images" / "train", folder / "labels" / "train" / "a.txt"
    file.write_bytes(labels.content)
    joints = SKELETON.num_keypoints
    about = DataYaml(folder / "data.yaml", folder, {}, joints, labels.numbers == 3, None, ("a", "b"), None)
    lists = partial(yolo.make_lists, about, [pictures / name for name in PICTURES], [file, None], pictures)
    may_lack = {"may_lack": MAY_LACK, "judges_polygons": False}
    use_index(read_split(SplitFiles("train", (file,), pictures, SKELETON, **may_lack, lists=lists)), CONFIG)
