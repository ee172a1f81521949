"""The check says 0 exactly where training and evaluation open their splits: every bad input of the tests, both ways."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from configs import coco_r50, custom_example
from input_pipeline import batching, check, loader
from querypose_jax.errors import UserError
from tests.input_pipeline.test_bad_data import REACHING
from tests.input_pipeline.test_coco_file import BROKEN, content, person
from tests.input_pipeline.test_custom import MISFITS
from tests.insects import write_insects


def opens(config) -> bool:
    """What the verbs train and eval do before a first step."""
    try:
        train = loader.open_split(config, config.data.train_split)
        batching.training_amounts(config.data, train.annotations)
        batching.plan_block(train.annotations, config, 1, 0)
        other = loader.open_split(config, config.data.eval_split, train.classes)
        batching.plan_evaluation(other.annotations, config, 1)
    except UserError:
        return False
    return True


def check_says(config, tmp_path) -> int:
    return check.main(SimpleNamespace(config=config, output=str(tmp_path / "report"), shards=1, draw=0))


@pytest.fixture
def config(tmp_path):
    """Three pictures each to train on and to score, in the layout of COCO."""
    config = coco_r50.get_config()
    config.data.update(
        root=str(tmp_path / "coco"), prepared=str(tmp_path / "prepared"), batch_size=2, block_batches=2, workers=1,
        short_sides=(64,), eval_short_side=64, longest_side=128, canvases=((128, 128),), crop=0.0,
    )  # fmt: skip
    for split in ("train", "val"):
        write(config, split, content())
        for image in content()["images"]:
            draw(config, split, image["file_name"], image["width"], image["height"])
    return config


def write(config, split: str, value) -> None:
    folder = f"{config.data.root}/annotations"
    path = f"{folder}/person_keypoints_{split}2017.json"
    make(folder)
    with open(path, "w") as file:
        file.write(value if isinstance(value, str) else json.dumps(value))


def draw(config, split: str, name: str, width: int, height: int, value: int = 90) -> None:
    make(f"{config.data.root}/{split}2017")
    Image.new("RGB", (width, height), (value,) * 3).save(f"{config.data.root}/{split}2017/{name}")


def make(folder: str) -> None:
    os.makedirs(folder, exist_ok=True)


def test_sound_data_are_opened_and_the_check_says_so(config, tmp_path):
    assert opens(config)
    assert check_says(config, tmp_path) == 0


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("value", [value for value, _ in BROKEN], ids=[message[:60] for _, message in BROKEN])
def test_broken_files(config, tmp_path, split, value):
    write(config, split, value)
    assert not opens(config)
    assert check_says(config, tmp_path) in (1, 2)


@pytest.mark.parametrize("change", [change for change, _ in REACHING], ids=range(len(REACHING)))
def test_entries_that_reach_for_other_files(config, tmp_path, change):
    value = content()
    value["images"][1].update(change)
    write(config, "val", value)
    assert not opens(config)
    assert check_says(config, tmp_path) == 1


@pytest.mark.parametrize("change", [change for change, _ in MISFITS], ids=range(len(MISFITS)))
def test_configurations_that_do_not_fit(tmp_path, change):
    write_insects(tmp_path / "insects", train=3, val=2)
    config = custom_example.get_config()
    config.data.update(root=str(tmp_path / "insects"), prepared=str(tmp_path / "prepared"), batch_size=2, workers=1)
    change(config)
    assert not opens(config)
    assert check_says(config, tmp_path) in (1, 2)


def every(key: str, **values):
    """A change of all entries of a list."""
    return lambda value: [entry.update(values) for entry in value[key]]


def first(key: str, **values):
    return lambda value: value[key][0].update(values)


def classes(*names: str):
    """Categories of these names, ids ascending; every annotation is of one of them."""

    def change(value):
        value["categories"] = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
        for place, entry in enumerate(value["annotations"]):
            entry["category_id"] = 1 + place % len(names)

    return change


def many_people(value):
    value["annotations"] += [person(id=100 + i) for i in range(1_001)]


# Name -> (changes of the annotation files of train and val, keys of the configuration, whether it can be opened).
LISTS = {
    "boxes of no size everywhere": (every("annotations", bbox=[0, 0, 0, 0]), None, {}, False),
    "boxes beside the picture everywhere": (every("annotations", bbox=[5000, 5000, 9, 9]), None, {}, False),
    "one box of no size": (first("annotations", bbox=[0, 0, 0, 0]), None, {}, True),
    "boxes of no size to score": (None, every("annotations", bbox=[0, 0, 0, 0]), {}, True),
    "empty polygons everywhere": (every("annotations", segmentation=[[]]), None, {}, False),
    "empty polygons, not judged": (
        every("annotations", segmentation=[[]]), None, {"data.drop_degenerate_polygons": False}, True,
    ),
    "crowds only": (every("annotations", iscrowd=1), None, {}, False),
    "nobody": (lambda value: value["annotations"].clear(), None, {}, False),
    "nobody, kept": (lambda value: value["annotations"].clear(), None, {"data.keep_empty": True}, False),
    "nobody to score": (None, lambda value: value["annotations"].clear(), {}, True),
    "no pictures to train on": (lambda value: (value["images"].clear(), value["annotations"].clear()), None, {}, False),
    "no pictures to score": (None, lambda value: (value["images"].clear(), value["annotations"].clear()), {}, False),
    "classes beyond the model's": (classes("cat", "dog"), classes("cat", "dog"), {}, False),
    "classes below the model's": (None, None, {"model.num_classes": 2}, False),
    "two classes": (classes("cat", "dog"), classes("cat", "dog"), {"model.num_classes": 2}, True),
    "two classes in another order": (classes("cat", "dog"), classes("dog", "cat"), {"model.num_classes": 2}, True),
    "another class to score": (classes("cat", "dog"), classes("cat", "cow"), {"model.num_classes": 2}, False),
    "a class less to score": (classes("cat", "dog"), classes("cat"), {"model.num_classes": 2}, False),
    "a class twice": (classes("person", "person"), None, {}, True),
    "one id of two classes": (
        lambda value: value.update(categories=[dict(id=1, name="a"), dict(id=1, name="b")]), None, {}, False,
    ),
    "joints in another order": (
        lambda value: value["categories"][0].update(keypoints=["left_eye", "nose"]), None, {}, False,
    ),
    "float height": (None, first("images", height=69.0), {}, False),
    "null width": (None, first("images", width=None), {}, False),
    "absolute name": (None, first("images", file_name="/data/9.jpg"), {}, True),
    "absolute name of nothing there": (None, first("images", file_name="/data/8.jpg"), {}, False),
    "name with ..": (first("images", file_name="../../8.jpg"), None, {}, False),
    "name with .. to train on": (first("images", file_name="../train2017/9.jpg"), None, {}, True),
    "./ before a name": (None, first("images", file_name="./9.jpg"), {}, True),
    "height and width swapped": (
        lambda value: [i.update(height=i["width"], width=i["height"]) for i in value["images"]], None, {}, False,
    ),
    "swapped, on canvases too small": (
        lambda value: [i.update(height=i["width"], width=i["height"]) for i in value["images"]], None,
        {"data.canvases": ((96, 64),)}, False,
    ),
    "canvases too small": (None, None, {"data.canvases": ((64, 64),)}, False),
    "not finite, too many": (first("annotations", area=float("nan")), None, {}, False),
    "not finite where unlabelled": (
        lambda value: value["annotations"][1]["keypoints"].__setitem__(slice(0, 2), [None, 1e12]), None, {}, True,
    ),
    "more people than fit anywhere": (None, many_people, {}, False),
    "an unlisted picture": (None, lambda value: value["images"].append(
        dict(id=12, file_name="12.jpg", height=9, width=9)), {}, False,
    ),
    "training on the split to score, where nobody is": (
        None, lambda value: value["annotations"].clear(), {"data.train_split": "val"}, False,
    ),
    "annotation id 0": (first("annotations", id=0), None, {}, True),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_what_is_listed_wrong_or_oddly(config, tmp_path, name):
    *changes, keys, can_be_opened = LISTS[name]
    for split, change in zip(("train", "val"), changes, strict=True):
        if change:
            value = content()
            change(value)
            write(config, split, value)
    config.update_from_flattened_dict(keys)
    assert opens(config) == can_be_opened
    assert (check_says(config, tmp_path) == 0) == can_be_opened


def truncate(path) -> None:
    with open(path, "r+b") as file:
        file.truncate(200)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("damage", ["truncated", "text", "missing", "other size", "float pixels", "listed twice"])
def test_pictures_that_cannot_be_used(config, tmp_path, split, damage):
    name = f"{config.data.root}/{split}2017/9.jpg"
    if damage == "truncated":
        truncate(name)
    elif damage == "text":
        with open(name, "w") as file:
            file.write("no picture")
    elif damage == "missing":
        os.remove(name)
    elif damage == "other size":
        draw(config, split, "9.jpg", 31, 17)
    elif damage == "float pixels":
        Image.fromarray(np.zeros((69, 50), np.float32)).save(name, "TIFF")
    else:
        value = content()
        value["images"].append(value["images"][0] | {"id": 77})
        write(config, split, value)
    assert opens(config) == (damage == "listed twice")
    assert (check_says(config, tmp_path) == 0) == (damage == "listed twice")


def test_the_pictures_that_training_does_without_may_be_all_that_had_people(config, tmp_path):
    images = [dict(id=i, file_name=f"{i}.jpg", height=40, width=40) for i in range(40)]
    for image in images:
        draw(config, "train", image["file_name"], 40, 40)
    write(config, "train", dict(images=images, annotations=[person(image_id=3)], categories=content()["categories"]))
    assert opens(config)
    assert check_says(config, tmp_path) == 0
    truncate(f"{config.data.root}/train2017/3.jpg")
    config.data.prepared += "_again"
    assert not opens(config)
    assert check_says(config, tmp_path) == 1


@pytest.mark.parametrize("key", ["height", "width"])
def test_findings_come_first_whatever_else_fails(config, tmp_path, capsys, key):
    value = content()
    value["images"][0][key] = None
    value["images"][1]["file_name"] = "../no.jpg"
    value["annotations"][3]["iscrowd"] = 1
    write(config, "train", value)
    config.data.canvases = ((64, 64),)
    assert check_says(config, tmp_path) == 1
    said = capsys.readouterr().out
    assert "STOPS  unusable image: 2" in said and "== val ==" in said
    train, val = said.split("== val ==")
    assert "crowd: 1" in val and "crowd: 1" not in train  # the annotations of the two images go with them
    assert train.index("STOPS") < train.index("pictures:")


def test_one_split_that_cannot_be_read_does_not_hide_the_other(config, tmp_path, capsys):
    write(config, "train", "no json")
    value = content()
    value["images"][0]["height"] = 1.5
    write(config, "val", value)
    assert check_says(config, tmp_path) == 2
    said = capsys.readouterr()
    assert "is not JSON" in said.err and "STOPS  unusable image: 1" in said.out


@pytest.mark.slow
def test_a_terminal_of_ascii_letters_gets_every_finding(config, tmp_path):
    value = content()
    value["images"][0]["file_name"] = "写真.jpg"
    write(config, "val", value)
    flags = [f"--config.data.root={config.data.root}", f"--config.data.prepared={tmp_path}/p"]
    done = subprocess.run(
        [sys.executable, "-m", "input_pipeline.check", "--config=configs/coco_r50.py", *flags],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "picture that cannot be read: 1" in done.stdout and "Traceback" not in done.stderr
