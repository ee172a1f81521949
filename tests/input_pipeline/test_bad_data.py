"""A folder in COCO form with everything that goes wrong in real ones: found by the check, trained on nevertheless."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import launch
from configs import coco_r50
from input_pipeline import batching, check, loader, people, skipping
from input_pipeline.annotations import count_per_picture, ground_truth
from input_pipeline.picture_names import is_inside
from input_pipeline.split_files import read_split
from input_pipeline.synthetic import index_of
from querypose_jax.errors import UserError
from querypose_jax.pictures import PictureError
from querypose_jax.skeletons import COCO

PICTURES = 300  # three of which cannot be used: 1 %
FIRST_ID = 100
TURNED = 6  # EXIF: stored lying on its left side


def draw(root: Path, split: str, count: int) -> dict:
    """Writes drawn pictures; returns what belongs into their annotation file."""
    drawings = [people.draw_people(5, split, i, 72 + 8 * (i % 3), 80, 2) for i in range(count)]
    content = ground_truth(index_of(drawings, FIRST_ID), COCO)
    folder = root / f"{split}2017"
    folder.mkdir(parents=True)
    for image, drawing in zip(content["images"], drawings, strict=True):
        Image.fromarray(drawing.image).save(folder / image["file_name"], quality=85)
    return content


def write(root: Path, split: str, content: dict) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"person_keypoints_{split}2017.json").write_text(json.dumps(content))


def of_picture(content: dict, place: int) -> list[dict]:
    """The annotations of the picture at a place of the list."""
    return [a for a in content["annotations"] if a["image_id"] == content["images"][place]["id"]]


def replace(content: dict, folder: Path, place: int, picture: Image.Image, kind: str = "JPEG", **options) -> None:
    """Writes another picture under the name of one, and its size into the annotation file."""
    image = content["images"][place]
    picture.save(folder / image["file_name"], kind, **options)
    image["width"], image["height"] = picture.size


def damage(content: dict, folder: Path) -> None:
    """One picture or person of every kind."""
    paths = [folder / image["file_name"] for image in content["images"]]
    paths[0].write_bytes(paths[0].read_bytes()[:700])
    paths[1].unlink()
    Image.new("RGB", (31, 17)).save(paths[2])
    with Image.open(paths[3]) as picture:
        replace(content, folder, 3, picture.copy(), "PNG")
        replace(content, folder, 4, picture.convert("CMYK"))
        replace(content, folder, 5, picture.convert("L"))
        deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) << 8)
        replace(content, folder, 6, deep, "PNG")
        exif = Image.Exif()
        exif[0x0112] = TURNED
        picture.rotate(90, expand=True).save(paths[7], exif=exif)
        content["images"][7].update(width=picture.width, height=picture.height)
    replace(content, folder, 8, Image.new("RGB", (1, 1)))
    replace(content, folder, 9, Image.new("RGB", (8000, 100)))
    replace(content, folder, 10, Image.new("RGB", (8000, 1)))
    for place in (8, 9, 10):
        for a in of_picture(content, place):
            a.update(bbox=[0, 0, 1, 1], area=0.5)
    boxes = {11: [10, 10, 0, 20], 12: [30, 30, -10, -10], 13: [500, 10, 20, 20]}
    for place, box in boxes.items():
        of_picture(content, place)[0]["bbox"] = box
    of_picture(content, 14)[0]["bbox"][2] = float("nan")
    of_picture(content, 15)[0]["keypoints"][0] = float("inf")
    one = of_picture(content, 16)[0]
    content["annotations"] += [one | {"id": 10_000 + i, "bbox": [i / 10, 5, 20, 30]} for i in range(299)]


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A data root whose training split holds everything; what is odd but usable also lies in the validation split."""
    root = tmp_path_factory.mktemp("bad")
    content = draw(root, "train", PICTURES)
    damage(content, root / "train2017")
    write(root, "train", content)
    write(root, "val", draw(root, "val", 4))
    return root


@pytest.fixture
def config(bad, tmp_path):
    config = coco_r50.get_config()
    config.data.update(
        root=str(bad),
        prepared=str(tmp_path / "prepared"),
        batch_size=4,
        block_batches=16,
        max_people=8,
        workers=2,
        crop_short_sides=(48, 56),
        crop_sides=(40, 64),
        short_sides=(64, 72),
        eval_short_side=72,
        longest_side=128,
        canvases=((96, 128), (128, 128)),
    )
    return config


def test_the_check_reports_every_kind_before_training(config):
    _, findings = check.look_at(config, "train")
    times = {f.kind: f.times for f in findings}
    expected = {
        skipping.UNREADABLE: 2,
        skipping.OTHER_SIZE: 1,
        skipping.NO_NUMBERS: 2,
        "no JPEG": 2,
        "not RGB": 3,
        "EXIF orientation": 1,
        "short side below 64 pixels": 2,
        "longer than 100 times its width": 1,
        "box without width or height, or negative": 2,
        "more than 8 people": 1,
    }
    assert {kind: times.get(kind) for kind in expected} == expected
    assert times["box outside of the picture"] >= 1
    assert not [f.kind for f in findings if f.stops]


def test_what_cannot_be_used_is_left_out_counted_and_listed(config, capfd):
    split = loader.open_split(config, "train")
    expected = {skipping.UNREADABLE: 2, skipping.OTHER_SIZE: 1, skipping.NO_NUMBERS: 2}
    assert skipping.counts(split.skipped) == expected
    said = capfd.readouterr().err
    assert f"{split.name}: left out: {skipping.NO_NUMBERS} 2, {skipping.OTHER_SIZE} 1, {skipping.UNREADABLE} 2" in said
    again = loader.open_split(config, "train")
    assert again.skipped == split.skipped
    assert again.fingerprint == split.fingerprint
    ids = set(split.annotations.image_id.tolist())
    assert not ids & {FIRST_ID, FIRST_ID + 1, FIRST_ID + 2}
    for row, name in enumerate(split.annotations.file_name):  # records and index still belong together
        assert split.read(row) == Path(config.data.root, "train2017", name).read_bytes()
    row = split.annotations.image_id.tolist().index(FIRST_ID + 16)
    assert count_per_picture(split.annotations, ~split.annotations.is_crowd)[row] >= 300
    for objects in (split.annotations.bbox, split.annotations.keypoints, split.annotations.area):
        assert np.isfinite(objects).all()


def test_batches_are_finite_hold_no_empty_box_and_are_the_same_after_a_restart(config):
    split = loader.open_split(config, "train")
    steps = 80  # more than an epoch: every picture occurs
    whole = list(loader.train_batches(config, split, start_step=0, shards=1, stop_step=steps))
    usable = batching.training_amounts(config.data, split.annotations)[0]
    assert len({int(i) for batch in whole for i in batch.image_id}) == usable > split.annotations.num_pictures / 2
    for batch in whole:
        for array in (batch.boxes, batch.keypoints, batch.area, batch.inv_affine):
            assert np.isfinite(array).all()
        assert (batch.boxes[batch.is_person][:, 2:] > batch.boxes[batch.is_person][:, :2]).all()
        assert batch.is_person.sum(1).max() <= 8
    rest = loader.train_batches(config, split, start_step=steps - 5, shards=1, stop_step=steps)
    for expected, found in zip(whole[-5:], rest, strict=True):
        for field in dataclasses.fields(found):
            if field.name != "budget":
                np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))


def test_a_training_split_of_which_too_much_is_broken_is_refused_in_one_line(config, bad, tmp_path):
    root = tmp_path / "worse"
    content = draw(root, "train", 20)
    write(root, "train", content)
    write(root, "val", draw(root, "val", 3))
    for image in content["images"][:2]:
        (root / "train2017" / image["file_name"]).unlink()
    config.data.root = str(root)
    with pytest.raises(
        UserError, match=r"000100.jpg: .* \(2 of 20 pictures looked at so far cannot be used.*5%"
    ) as error:
        loader.open_split(config, "train")
    assert "\n" not in str(error.value)
    _, findings = check.look_at(config, "train")
    assert [f.kind for f in findings if f.stops] == [skipping.UNREADABLE]
    for annotation in content["annotations"][::4]:
        annotation["area"] = float("inf")
    write(root, "train", content)
    with pytest.raises(UserError, match="area must be a finite number .*annotations looked at so far"):
        loader.open_split(config, "train")


def test_a_split_that_is_scored_leaves_nothing_out(config, tmp_path):
    root = tmp_path / "scored"
    content = draw(root, "val", 40)
    (root / "val2017" / content["images"][7]["file_name"]).unlink()
    write(root, "val", content)
    config.data.root = str(root)
    with pytest.raises(PictureError, match="000107.jpg: No such file or directory; the annotation file lists it"):
        loader.open_split(config, "val")
    of_picture(content, 7)[0]["area"] = float("nan")
    write(root, "val", content)
    with pytest.raises(UserError, match="area must be a finite number; input_pipeline.check lists"):
        loader.open_split(config, "val")
    _, findings = check.look_at(config, "val")
    assert {f.kind for f in findings if f.stops} == {skipping.UNREADABLE, skipping.NO_NUMBERS}


REACHING = [
    ({"file_name": "../../etc/passwd"}, "'../../etc/passwd' must be a path inside of the picture folder"),
    ({"file_name": "/etc/passwd"}, "must be a path inside of the picture folder"),
    ({"file_name": "a/../../b.jpg"}, "must be a path inside of the picture folder"),
    ({"file_name": r"C:\secret.jpg"}, "must be a path inside of the picture folder"),
    ({"file_name": r"\\host\share.jpg"}, "must be a path inside of the picture folder"),
    ({"file_name": "a\x00b.jpg"}, "must be a path inside of the picture folder"),
    ({"file_name": "a\nb.jpg"}, "must be a path inside of the picture folder"),
    ({"file_name": "\ud800.jpg"}, "must be a path inside of the picture folder"),
    ({"file_name": ""}, "must be a path inside of the picture folder"),
    ({"file_name": "x" * 100_000}, "must be a path inside of the picture folder"),
    ({"height": 10_000, "width": 10_000}, "has more than 89,478,485 pixels"),
    ({"height": 2**40, "width": 1}, "has more than 89,478,485 pixels"),
]


@pytest.mark.parametrize(("change", "message"), REACHING)
def test_an_entry_that_reaches_for_other_files_or_for_all_memory_is_refused_in_one_line(config, bad, change, message):
    files = loader.FILES["coco"](config.data, "train", COCO)
    content = json.loads((bad / "annotations" / "person_keypoints_val2017.json").read_text())
    content["images"][1].update(change)
    path = Path(config.data.prepared + ".json")
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read_split(files._replace(annotations=(path,)))
    assert f"image number 1 (id {FIRST_ID + 1})" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_folders_below_the_picture_folder_and_any_script_are_fine_as_names():
    assert is_inside("train2017/000000000009.jpg") and is_inside("写真 1.jpg") and is_inside("..a/b..jpg")


def test_a_picture_with_more_people_than_fit_anywhere_is_refused(config, bad):
    files = loader.FILES["coco"](config.data, "train", COCO)
    content = json.loads((bad / "annotations" / "person_keypoints_val2017.json").read_text())
    one = content["annotations"][0]
    content["annotations"] += [one | {"id": 1_000 + i} for i in range(1_001)]
    path = Path(config.data.prepared + ".json")
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="is beyond the 1000 that a picture may have"):
        read_split(files._replace(annotations=(path,)))


CONFIG = """
from tests import tiny_run


def get_config():
    config = tiny_run.get_config()
    config.data.update(
        name="coco", root={root!r}, prepared={prepared!r}, batch_size=2, block_batches=16, max_people=4, workers=2,
        crop_short_sides=(48, 56), crop_sides=(40, 64), short_sides=(64, 72), eval_short_side=72, longest_side=128,
        canvases=((128, 128),), people_ladder=(16,),
    )
    config.train.update(num_steps=2, checkpoint_every=2)
    return config
"""


@pytest.mark.slow
def test_two_steps_of_training_and_an_evaluation_say_what_was_left_out(bad, tmp_path, capfd):
    (tmp_path / "run.py").write_text(CONFIG.format(root=str(bad), prepared=str(tmp_path / "prepared")))
    arguments = ["launch.py", f"--config={tmp_path / 'run.py'}", f"--workdir={tmp_path / 'run'}"]
    assert launch.main(arguments) == 0
    said = capfd.readouterr()
    counted = f"left out: {skipping.NO_NUMBERS} 2, {skipping.OTHER_SIZE} 1, {skipping.UNREADABLE} 2"
    assert counted in said.out and counted in said.err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = list(itertools.chain.from_iterable([line["loss/total"]] for line in lines if "loss/total" in line))
    assert len(losses) == 2 and np.isfinite(losses).all()
