"""Prepared data sets and the batches that come out of them."""

import dataclasses
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO as CocoApi

from input_pipeline import loader, people, schema
from input_pipeline.synthetic import encode
from querypose_jax.errors import UserError
from querypose_jax.pictures import PictureError, read_picture
from querypose_jax.recipes.resize import resize
from querypose_jax.structures import FILLER_ID

STEPS, RESTART = 50, 20


def fields(batch) -> dict:
    values = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.name != "budget"}
    return {name: value for name, value in values.items() if value is not None}


def as_bytes(batch) -> dict:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in fields(batch).items()}


def take(batches, count: int) -> list:
    """The first batches, and the threads behind them stopped."""
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def joined(parts) -> dict:
    return {name: np.concatenate([fields(part)[name] for part in parts]) for name in fields(parts[0])}


@pytest.mark.parametrize("source", ["tiny", "coco"])
def test_50_steps_are_the_same_bytes_from_one_host_two_hosts_and_after_a_restart(source, request):
    config = request.getfixturevalue(source)
    split = loader.open_split(config, "train")
    whole = take(loader.train_batches(config, split, start_step=0, shards=4), STEPS)
    restarted = loader.train_batches(config, split, start_step=RESTART, shards=4)
    for expected, found in zip(whole[RESTART:], take(restarted, STEPS - RESTART), strict=True):
        assert as_bytes(found) == as_bytes(expected)
        assert found.budget == expected.budget
    hosts = [
        take(loader.train_batches(config, split, start_step=0, shards=4, process_index=i, process_count=2), STEPS)
        for i in range(2)
    ]
    for expected, *parts in zip(whole, *hosts, strict=True):
        assert [part.budget for part in parts] == [expected.budget] * 2
        for name, array in joined(parts).items():
            assert array.tobytes() == fields(expected)[name].tobytes(), name


def test_another_seed_is_another_stream(tiny):
    split = loader.open_split(tiny, "train")
    [first] = take(loader.train_batches(tiny, split, start_step=0, shards=1), 1)
    tiny.train.seed += 1
    [second] = take(loader.train_batches(tiny, split, start_step=0, shards=1), 1)
    assert as_bytes(first)["image"] != as_bytes(second)["image"]


def test_training_pictures_carry_their_people_through_every_augmentation(coco):
    """Mapped back by inv_affine, labelled joints are those of the annotation file (mirrored ones change sides)."""
    split = loader.open_split(coco, "train")
    truth = {}
    for a in split.ground_truth()["annotations"]:
        truth.setdefault(a["image_id"], []).append(np.reshape(a["keypoints"], (17, 3)))
    mirrored = checked = 0
    for batch in take(loader.train_batches(coco, split, start_step=0, shards=1), 12):
        for i in range(4):
            matrix = batch.inv_affine[i]
            flips = matrix[0, 0] < 0
            mirrored += flips
            candidates = np.array(truth[int(batch.image_id[i])])
            for joints in batch.keypoints[i][batch.is_person[i]]:
                back = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2] - 0.5
                if flips:
                    back, joints = back[list(split.skeleton.flip_index)], joints[list(split.skeleton.flip_index)]
                seen = joints[:, 2] > 0
                distance = np.abs(candidates[:, seen, :2] - back[seen]).max((1, 2), initial=0)
                checked += seen.sum()
                assert distance.min() < 1e-3
    assert mirrored > 10
    assert checked > 500


def test_pixels_outside_of_the_picture_are_zero_and_inside_are_the_transformed_file(coco):
    split = loader.open_split(coco, "val")
    row_of = {int(image_id): row for row, image_id in enumerate(split.annotations.image_id)}
    for batch in loader.eval_batches(coco, split, shards=2):
        for i, (h, w) in enumerate(batch.valid_size):
            if batch.image_id[i] == FILLER_ID:
                assert not batch.image[i].any()
                continue
            picture = read_picture(split.read(row_of[int(batch.image_id[i])]))
            assert picture.size == tuple(batch.orig_size[i][::-1])
            np.testing.assert_array_equal(batch.image[i, :h, :w], np.asarray(resize(picture, h, w)))
            assert not batch.image[i, h:].any()
            assert not batch.image[i, :, w:].any()


def test_evaluation_may_leave_out_pictures_without_anybody(coco):
    split = loader.open_split(coco, "val")
    with_somebody = {a["image_id"] for a in split.ground_truth()["annotations"]}
    assert 101 in with_somebody and len(with_somebody) < split.annotations.num_pictures, "a crowd is somebody"
    coco.eval.image_filter = "with_person"
    ids = np.concatenate([batch.image_id for batch in loader.eval_batches(coco, split, shards=1)])
    assert sorted(ids[ids != FILLER_ID].tolist()) == sorted(with_somebody)


@pytest.mark.parametrize("canvas", ["exact", "ladder"])
def test_evaluation_sees_every_picture_once(coco, canvas):
    coco.eval.update(canvas=canvas, batch_size=2)
    split = loader.open_split(coco, "val")
    batches = list(loader.eval_batches(coco, split, shards=2))
    ids = np.concatenate([batch.image_id for batch in batches])
    assert sorted(ids[ids != FILLER_ID]) == sorted(image["id"] for image in split.ground_truth()["images"])
    assert {len(batch.image) for batch in batches} == {4}
    halves = [list(loader.eval_batches(coco, split, shards=2, process_index=i, process_count=2)) for i in range(2)]
    for whole, *parts in zip(batches, *halves, strict=True):
        assert joined(parts)["image"].tobytes() == whole.image.tobytes()


def test_splits_keep_all_pictures_and_training_uses_those_with_somebody(coco, coco_like):
    train, val = (loader.open_split(coco, name) for name in ("train", "val"))
    for split, name in ((train, "train"), (val, "val")):
        listed = json.loads((coco_like / "annotations" / f"person_keypoints_{name}2017.json").read_text())
        assert split.annotations.image_id.tolist() == sorted(i["id"] for i in listed["images"])
        for row, file_name in enumerate(split.annotations.file_name):
            assert split.read(row) == (coco_like / f"{name}2017" / file_name).read_bytes()
    for keep_empty, missing in ((False, {101, 102}), (True, {101})):  # a crowd only, nobody at all
        coco.data.keep_empty = keep_empty
        batches = loader.train_batches(coco, train, start_step=0, shards=1, stop_step=40)
        seen = {int(i) for batch in batches for i in batch.image_id}
        assert seen == set(train.annotations.image_id.tolist()) - missing


def test_ground_truth_is_what_pycocotools_wants(coco, capsys):
    truth = CocoApi()
    truth.dataset = loader.open_split(coco, "val").ground_truth()
    truth.createIndex()
    assert len(truth.getImgIds()) == 7
    assert truth.loadCats(1)[0]["name"] == "person"


def test_drawn_pictures_are_stored_as_drawn(tiny):
    settings = tiny.data.synthetic
    split = loader.open_split(tiny, "val")
    drawing = people.draw_people(settings.seed, "val", 4, settings.height, settings.width, settings.max_people)
    assert split.read(4) == encode(drawing.image)
    np.testing.assert_array_equal(
        split.annotations.keypoints[split.annotations.picture_of_object == 4], drawing.keypoints
    )


def test_prepared_folder_follows_the_content_of_the_annotation_file(coco, coco_like, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(coco_like, root)
    coco.data.root = str(root)
    first = loader.open_split(coco, "val")
    path = root / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["area"] += 1
    path.write_text(json.dumps(content))
    second = loader.open_split(coco, "val")
    assert first.fingerprint != second.fingerprint
    assert len(list(Path(coco.data.prepared).glob("coco-val-*"))) == 2


def test_a_preparation_that_was_killed_is_redone_and_one_that_is_complete_reused(tiny, monkeypatch):
    split = loader.open_split(tiny, "val")
    [folder] = Path(tiny.data.prepared).glob("synthetic-val-*")
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir()
    (partial / "rubbish").write_text("left by a killed process")
    before = os.stat(folder).st_mtime_ns
    assert loader.open_split(tiny, "val").fingerprint == split.fingerprint
    assert os.stat(folder).st_mtime_ns == before
    shutil.rmtree(folder)
    again = loader.open_split(tiny, "val")
    assert again.fingerprint == split.fingerprint
    assert again.read(3) == split.read(3)
    assert not partial.exists()


@pytest.mark.parametrize("source", ["tiny", "coco"])
def test_another_format_of_records_is_prepared_anew(source, request, monkeypatch):
    config = request.getfixturevalue(source)
    before = loader.open_split(config, "val").name
    monkeypatch.setattr(schema, "FORMAT_VERSION", schema.FORMAT_VERSION + 1)
    assert loader.open_split(config, "val").name != before
    assert len([path for path in Path(config.data.prepared).iterdir() if path.is_dir()]) == 2


def nothing_left(config) -> bool:
    """No folder under data.prepared, complete or not."""
    return not [path for path in Path(config.data.prepared).glob("*") if path.is_dir()]


@pytest.mark.parametrize("damage", ["truncated", "text", "missing", "other size"])
def test_a_bad_picture_is_one_line_with_its_name_and_nothing_is_left_behind(coco, coco_like, tmp_path, damage):
    root = tmp_path / "copy"
    shutil.copytree(coco_like, root)
    coco.data.root = str(root)
    victim = root / "val2017" / "000103.jpg"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:600])
    elif damage == "text":
        victim.write_text("this is no picture")
    elif damage == "missing":
        victim.unlink()
    else:
        Image.new("RGB", (31, 17)).save(victim)
    with pytest.raises(PictureError, match="000103.jpg: ") as error:
        loader.open_split(coco, "val")
    assert "\n" not in str(error.value)
    assert nothing_left(coco)


def test_missing_files_are_named_with_the_way_to_get_them(coco, tmp_path):
    coco.data.root = str(tmp_path / "nowhere")
    with pytest.raises(
        UserError, match=r"nowhere/annotations/person_keypoints_train2017.json: no such file.*cocodataset"
    ):
        loader.open_split(coco, "train")
    (tmp_path / "nowhere" / "annotations").mkdir(parents=True)
    (tmp_path / "nowhere" / "annotations" / "person_keypoints_train2017.json").write_text("{}")
    with pytest.raises(UserError, match=r"nowhere/train2017: no such folder"):
        loader.open_split(coco, "train")
    assert nothing_left(coco)


def test_unknown_data_sets_and_splits_are_named(tiny):
    with pytest.raises(UserError, match="'test' is no split of a data set; known: train, val"):
        loader.open_split(tiny, "test")
    del tiny.data.synthetic
    with pytest.raises(UserError, match=r"no group data.synthetic"):
        loader.open_split(tiny, "train")
    tiny.data.name = "mnist"
    with pytest.raises(
        UserError, match="data.name 'mnist' is unknown; known: coco, crowdpose, custom, yolo, synthetic"
    ):
        loader.open_split(tiny, "train")


def test_a_picture_that_breaks_after_preparation_is_named_too(tiny):
    split = loader.open_split(tiny, "train")
    broken = dataclasses.replace(split, read=lambda row: b"garbage" if row == 11 else split.read(row))
    with pytest.raises(PictureError, match="000011.jpg: cannot be decoded"):
        take(loader.train_batches(tiny, broken, start_step=0, shards=1), 20)


def test_exif_orientation_grayscale_and_cmyk_become_upright_rgb():
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16] = (200, 100, 50)  # JPEG's blocks end where the colour does
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: turn clockwise to show
    rotated = read_picture(saved(upright.rotate(90, expand=True), "JPEG", exif=exif, quality=95, subsampling=0))
    np.testing.assert_allclose(np.asarray(rotated).astype(int), pixels, atol=12)
    gray = read_picture(saved(upright.convert("L"), "PNG"))
    assert gray.mode == "RGB"
    cmyk = np.asarray(read_picture(saved(upright.convert("CMYK"), "JPEG", quality=95, subsampling=0))).astype(int)
    np.testing.assert_allclose(cmyk, pixels, atol=12)


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def test_training_may_be_cut_down_to_the_pictures_with_the_largest_people(coco):
    whole = loader.open_split(coco, "train")
    coco.data.largest_people = 5
    few = loader.open_split(coco, "train")
    assert few.annotations.num_pictures == 5
    assert few.fingerprint != whole.fingerprint
    row = whole.annotations.image_id.tolist().index(int(few.annotations.image_id[2]))
    assert few.read(2) == whole.read(row)
    assert loader.open_split(coco, "val").annotations.num_pictures == 7


def test_a_process_ends_while_batches_are_still_being_read(tiny):
    loader.open_split(tiny, "train")
    program = f"""
import dataclasses, time
from configs import synthetic_tiny
from input_pipeline import loader
config = synthetic_tiny.get_config()
config.data.update(prepared={tiny.data.prepared!r}, block_batches=4)
config.data.synthetic.update(train_pictures=60)
split = loader.open_split(config, "train")
slow = dataclasses.replace(split, read=lambda row: time.sleep(0.05) or split.read(row))
batches = loader.train_batches(config, slow, start_step=0, shards=1)
print(next(batches).image.shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "(8, 160, 192, 3)\n"
