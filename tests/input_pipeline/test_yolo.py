"""Folders in YOLO's form are read as they are, converted both ways to the last bit, and refused in one line."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs import coco_r50, custom_example
from input_pipeline import check, convert, loader
from input_pipeline.data_yaml import read_data_yaml
from input_pipeline.split_files import read_split
from input_pipeline.yolo_labels import read_labels, written_line
from querypose_jax.errors import UserError
from querypose_jax.skeletons import COCO, get_skeleton
from tests.insects import write_insects

DATA = Path(os.environ.get("QUERYPOSE_DATA", "../shared/data")) / "coco_union"
needs_pictures = pytest.mark.skipif(not DATA.is_dir(), reason="the pictures of coco_union are not here")
YAML = """
train: images/train
val: images/val
kpt_shape: [2, 3]
flip_idx: [1, 0]
names: [dog, 'no']
"""


def converted(config, to: str, output: Path, *splits: str) -> None:
    assert convert.main(SimpleNamespace(config=config, to=to, output=str(output), splits=list(splits))) == 0


@pytest.fixture
def folder(tmp_path):
    """Two pictures to train on, one with two dogs; one to validate."""
    root = tmp_path / "dogs"
    for split, names in (("train", "ab"), ("val", "c")):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (200, 100), "green").save(root / "images" / split / f"{name}.png")
    lines = "0 0.5 0.5 0.25 0.5  0.4 0.5 2  0.6 0.5 1\n\n1 0.1 0.1 0.2 0.2  0 0 0  0.15 0.05 2\n"
    (root / "labels/train/a.txt").write_text(lines)
    (root / "labels/val/c.txt").write_text("0 0.5 0.5 1 1")
    (root / "data.yaml").write_text(YAML)
    return root


@pytest.fixture
def config(folder, tmp_path):
    config = custom_example.get_config()
    config.data.skeleton.update(names=("left", "right"), sigmas=(0.1, 0.1), flip_pairs=(("left", "right"),), edges=())
    config.data.update(name="yolo", root=str(folder), prepared=str(tmp_path / "prepared"), batch_size=2, workers=1)
    return config


def test_numbers_become_pixels_and_what_has_no_label_file_has_nobody(config):
    annotations = loader.open_split(config, "train").annotations
    assert annotations.file_name.tolist() == ["a.png", "b.png"]
    assert annotations.size.tolist() == [[100, 200]] * 2
    assert annotations.start.tolist() == [0, 2, 2]
    np.testing.assert_array_equal(annotations.bbox, [[75, 25, 50, 50], [0, 0, 40, 20]])
    np.testing.assert_array_equal(annotations.keypoints[0], [[80, 50, 2], [120, 50, 1]])
    assert annotations.num_keypoints.tolist() == [2, 1]
    assert annotations.area[0] == pytest.approx(0.53 * 50 * 50)
    assert annotations.category_names.tolist() == ["dog", "no"] and annotations.label.tolist() == [0, 1]
    box_only = loader.open_split(config, "val").annotations
    assert box_only.bbox.tolist() == [[0, 0, 200, 100]] and not box_only.keypoints.any()
    [batch] = loader.train_batches(config, loader.open_split(config, "train"), start_step=0, shards=1, stop_step=1)
    assert batch.is_person.any()
    assert not any(f.stops for f in check.look_at(config, "train")[1])


def test_a_label_that_changes_or_a_picture_that_comes_prepares_the_split_anew(config, folder):
    names = {loader.open_split(config, "train").name}
    (folder / "labels/train/b.txt").write_text("0 0.5 0.5 0.5 0.5")
    names.add(loader.open_split(config, "train").name)
    Image.new("RGB", (50, 50)).save(folder / "images/train/d.png")
    split = loader.open_split(config, "train")
    assert len(names | {split.name}) == 3 and split.annotations.num_pictures == 3


@pytest.mark.parametrize("layout", ["roboflow", "list", "beside", "path", "two folders", "two numbers"])
def test_layouts_that_tools_write_load_as_they_come(config, folder, layout):
    before = loader.open_split(config, "train").annotations
    text, labels = YAML, folder / "labels/train/a.txt"
    if layout == "roboflow":  # images and labels in folders of the split, named from beside data.yaml
        for split in ("train", "val"):
            (folder / split).mkdir()
            (folder / "images" / split).rename(folder / split / "images")
            (folder / "labels" / split).rename(folder / split / "labels")
        text = text.replace("images/train", "../train/images").replace("images/val", "../val/images")
    if layout == "list":
        (folder / "train.txt").write_text("./images/train/b.png\nimages/train/a.png\n")
        text = text.replace("images/train", "train.txt")
    if layout == "beside":
        for path in (folder / "labels/train").iterdir():
            path.rename(folder / "images/train" / path.name)
    if layout == "path":  # of the machine that wrote it
        text = "path: ../datasets/dogs\n" + text
    if layout == "two folders":
        (folder / "images/more").mkdir()
        (folder / "images/train/b.png").rename(folder / "images/more/b.png")
        text = text.replace("images/train", "[images/train, images/more]")
    if layout == "two numbers":
        text = text.replace("[2, 3]", "[2, 2]").replace("names: [dog, 'no']", "names: {1: 'no', 0: dog}")
        labels.write_text("0 0.5 0.5 0.25 0.5  0.4 0.5  0.6 0.5\n1 0.1 0.1 0.2 0.2  0 0  0.15 0.05\n")
    (folder / "data.yaml").write_text(text)
    after = loader.open_split(config, "train").annotations
    assert sorted(Path(name).name for name in after.file_name.tolist()) == ["a.png", "b.png"]
    np.testing.assert_array_equal(after.bbox, before.bbox)
    seen = (after.keypoints[..., 2] > 0, before.keypoints[..., 2] > 0)
    np.testing.assert_array_equal(*seen)
    np.testing.assert_array_equal(after.keypoints[..., :2], before.keypoints[..., :2])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (YAML, "[1, 2", "is not YAML"),
        (YAML, "- 1", "is no data.yaml"),
        (YAML, "!!python/object/apply:os.system ['true']", "is not YAML"),
        ("kpt_shape: [2, 3]", "", "kpt_shape must be [joints, 2 or 3], not None; data without joints do not do"),
        (
            "[2, 3]\nflip_idx: [1, 0]",
            "[3, 3]",
            "kpt_shape has 3 joints, config.data.skeleton (insect) 2; describe your own there",
        ),
        ("[1, 0]", "[1, 1]", "flip_idx must pair the 2 joints of kpt_shape"),
        ("[1, 0]", "[0, 1]", "flip_idx takes joint 0 (left) to 0, config.data.skeleton to 1; make its names"),
        ("[dog, 'no']", "[dog, dog]", "names must be a list, or count from 0, and differ"),
        ("[dog, 'no']", "{0: dog, 2: cat}", "names must be a list, or count from 0, and differ"),
        ("[dog, 'no']", "[&a dog, *a]", "has YAML aliases (*name); write out what they stand for"),
        ("[dog, 'no']", "[dog, cat, cow]", "the data set has the classes dog, cat, cow; set model.num_classes to 3"),
        ("images/train", "pictures", "pictures is neither at "),
        ("images/train", "labels", "there are no pictures in labels (train)"),
        ("train: images/train\n", "", "'train' is no split of a data set; known: val"),
        ("names:", "kpt_names: {0: [right, left]}\nnames:", "config.data.skeleton has left at another place"),
        ("names:", "kpt_names: {0: [right]}\nnames:", "kpt_names has 1 names, kpt_shape 2 joints"),
    ],
)
def test_a_data_yaml_that_does_not_fit_is_one_line(config, folder, old, new, said):
    (folder / "data.yaml").write_text(YAML.replace(old, new))
    with pytest.raises(UserError) as refused:
        loader.open_split(config, "train")
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.5", "a.txt, line 2: has 4 numbers, not 11 (kpt_shape) or 5 (a box)"),
        ("0 0.5 0.5 0.5 0.5 0.1 0.1 2", "line 2: has 8 numbers"),
        ("dog 0.5 0.5 0.5 0.5", "line 2: has something else than numbers"),
        ("2 0.5 0.5 0.5 0.5", "line 2: class 2 is none of the 2 of names"),
        ("-1 0.5 0.5 0.5 0.5", "line 2: class -1 is none"),
        ("0.5 0.5 0.5 0.5 0.5", "line 2: class 0.5 is none"),
        ("\x00", "line 2: has 1 numbers"),
    ],
)
def test_a_line_that_is_no_label_is_named(config, folder, line, said):
    (folder / "labels/train/a.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(UserError) as refused:
        loader.open_split(config, "train")
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "1e12"])
def test_numbers_that_are_none_are_problems_of_their_annotation(config, folder, number):
    (folder / "labels/val/c.txt").write_text(f"0 0.5 0.5 0.5 0.5\n0 {number} 0.5 0.5 0.5\n")
    with pytest.raises(UserError, match=r"annotation number 1 \(id 2\): bbox must be four finite numbers"):
        loader.open_split(config, "val")


def test_a_picture_that_is_none_is_told_as_in_other_data_sets(config, folder):
    (folder / "images/val/c.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"c\.png: cannot be decoded as a picture"):
        loader.open_split(config, "val")


numbers = st.floats(-50, 4000, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-3)


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, min_size=8, max_size=8), st.integers(1, 4000), st.integers(1, 4000))
def test_what_is_written_comes_back_to_the_last_bit(tmp_path_factory, values, height, width):
    bbox, joints = np.array(values[:4]), np.array([[*values[4:6], 2], [*values[6:], 0]])
    path = tmp_path_factory.mktemp("label") / "a.txt"
    path.write_text(written_line(3, bbox, joints, (height, width)))
    [(label, box, keypoints)] = read_labels(path, (height, width), 2, True, 4)
    assert (label, box, keypoints) == (3, bbox.tolist(), joints.ravel().tolist())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=8, max_size=8), st.integers(1, 4000), st.integers(1, 4000))
def test_a_line_of_six_digits_comes_back_as_it_was(tmp_path_factory, values, height, width):
    words = [f"{v / 10**6:.6f}" for v in values]
    line = " ".join(["0", *words[:6], "2", *words[6:], "1"])
    path = tmp_path_factory.mktemp("label") / "a.txt"
    path.write_text(line)
    [(label, box, keypoints)] = read_labels(path, (height, width), 2, True, 1)
    back = written_line(label, np.array(box), np.array(keypoints).reshape(2, 3), (height, width))
    assert list(map(Decimal, back.split())) == list(map(Decimal, line.split()))


def test_coco_to_yolo_and_back_is_the_same_to_the_last_bit(tmp_path):
    write_insects(tmp_path / "insects", train=4, val=3)
    config = custom_example.get_config()
    config.data.root = str(tmp_path / "insects")
    converted(config, "yolo", tmp_path / "yolo")
    yolo = custom_example.get_config()
    yolo.data.update(name="yolo", root=str(tmp_path / "yolo"))
    about = read_data_yaml(tmp_path / "yolo" / "data.yaml")
    assert about.joint_names == get_skeleton(config.data.skeleton).names and about.classes == ("beetle", "ant")
    for split in ("train", "val"):
        skeleton = get_skeleton(config.data.skeleton)
        a, b = (read_split(loader.FILES[c.data.name](c.data, split, skeleton)) for c in (config, yolo))
        for field in ("file_name", "size", "start", "bbox", "keypoints", "label", "category_names"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=field)
    converted(yolo, "coco", tmp_path / "coco")
    written = json.loads((tmp_path / "coco/annotations/train.json").read_text())
    before = json.loads((tmp_path / "insects/annotations/train.json").read_text())
    for key in ("bbox", "keypoints"):
        assert [a[key] for a in written["annotations"]] == [a[key] for a in before["annotations"]]
    with pytest.raises(UserError, match="exists already; name another folder or remove it"):
        converted(yolo, "coco", tmp_path / "coco")


@needs_pictures
def test_real_labels_of_both_forms_agree_and_come_back(tmp_path):
    """94 pictures of COCO: YOLO's six digits against COCO's pixels, and the public conversion through ours and back."""
    config = coco_r50.get_config()
    config.data.root = str(DATA)
    coco = read_split(loader.FILES["coco"](config.data, "train", COCO))
    config.data.update(name="yolo", root=str(DATA / "yolo"))
    files = loader.FILES["yolo"](config.data, "train", COCO)
    yolo = read_split(files)
    for field in ("image_id", "file_name", "size", "start", "num_keypoints", "label"):
        np.testing.assert_array_equal(getattr(yolo, field), getattr(coco, field), err_msg=field)
    pixels = coco.size[coco.picture_of_object].max(-1) * 1e-6
    assert (np.abs(yolo.bbox - coco.bbox).max(-1) <= pixels + 0.005).all()  # that file has two digits of a box
    assert (np.abs(yolo.keypoints - coco.keypoints).max((1, 2)) <= pixels + 0.05).all()  # and one of a joint
    converted(config, "yolo", tmp_path / "again", "train")
    for path in sorted((DATA / "yolo/labels/train2017").iterdir()):
        theirs, ours = (p.read_text().split() for p in (path, tmp_path / "again/labels/train" / path.name))
        assert list(map(Decimal, ours)) == list(map(Decimal, theirs)), path


def test_the_command_says_what_is_lost(config, tmp_path):
    command = [sys.executable, "-m", "input_pipeline.convert", "--config=configs/custom_example.py", "--to=yolo"]
    write_insects(tmp_path / "insects", train=2, val=1)
    given = [f"--output={tmp_path / 'out'}", f"--config.data.root={tmp_path / 'insects'}"]
    done = subprocess.run([*command, *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "left out: 0 crowds, all areas and ids" in done.stdout
    names = [path.name for path in sorted((tmp_path / "out/images/train").iterdir())]  # not those of the other split
    assert names == ["00000.jpg", "00001.jpg"]
    assert (tmp_path / "out/images/train/00000.jpg").resolve() == (tmp_path / "insects/pictures/00000.jpg").resolve()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1e999999999999 0.5 0.5 0.5 0.5", "class 1e999999999999 is none of the 2 of names"),
        ("9" * 5000 + " 0.5 0.5 0.5 0.5", r"class 9+\.\.\. is none of the 2 of names"),
        ("0 0.5 0.5 1e999999 1e999999", "bbox must be four finite numbers"),
        ("0 sNaN 0.5 0.5 0.5", "bbox must be four finite numbers"),
        ("0 0.5 0.5 0.5 0.5  sNaN 0.5 2  0.6 0.5 1", "keypoints must be 6 finite numbers"),
        ("0 0.5 0.5 0.5 0.5  0.5 0.5 sNaN  0.6 0.5 1", "keypoints must be 6 finite numbers"),
    ],
)
def test_numbers_beyond_all_measure_are_one_line(config, folder, line, said):
    """What decimal numbers can say and floats cannot: no error of another kind, and no time or memory for it."""
    (folder / "labels/val/c.txt").write_text(line)
    with pytest.raises(UserError, match=said) as caught:
        loader.open_split(config, "val")
    assert len(str(caught.value)) < 1000


def test_joints_of_two_numbers_may_be_none(folder):
    (folder / "labels/val/c.txt").write_text("0 0.5 0.5 0.5 0.5  NaN 0.5  0.6 sNaN")
    [(_, _, keypoints)] = read_labels(folder / "labels/val/c.txt", (100, 200), 2, False, 2)
    assert np.isnan(keypoints).tolist() == [True, False, False, False, True, False]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("images/val", "x" * 300, "x+... is neither at"),
        ("[2, 3]", "[1000000000000, 3]", "flip_idx must pair the 1000000000000 joints"),
        ("[dog, 'no']", ":".join(["1"] * 600), "has a value of 1,199 characters; put a text of this length in quotes"),
        ("[dog, 'no']", "[\u200b", "is not YAML"),
        ("[dog, 'no']", "[" * 500_000, "has values in values in values, more than 20 deep"),
        ("[dog, 'no']", "\n" + "- " * 500_000, "has values in values in values, more than 20 deep"),
        ("[dog, 'no']", "{a: " * 100_000, "has values in values in values, more than 20 deep"),
    ],
)
def test_what_a_data_yaml_may_say_at_worst_is_one_line(config, folder, old, new, said):
    (folder / "data.yaml").write_text(YAML.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        loader.open_split(config, "val")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@pytest.mark.parametrize("line", ["a\x1b[2J.png", "x" * 2000, "/", "a\x00.png"])
def test_a_list_of_what_are_no_paths_is_one_line(config, folder, line):
    (folder / "list.txt").write_text(f"images/val/c.png\n{line}\n")
    (folder / "data.yaml").write_text(YAML.replace("images/val", "list.txt"))
    with pytest.raises(UserError, match="list.txt, line 2: .* is no path of a picture") as caught:
        loader.open_split(config, "val")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
