"""The check names what is wrong with a data set, and finds nothing where nothing is."""

import dataclasses
import json
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from configs import querypose
from input_pipeline import check
from input_pipeline.charts import COLORS, bar_chart
from input_pipeline.findings import find_in_annotations, find_in_pictures
from input_pipeline.people import draw_people
from input_pipeline.statistics import describe, describe_plan
from input_pipeline.synthetic import index_of
from querypose_jax.recipes.querypose import RECIPE
from querypose_jax.skeletons import COCO


@pytest.fixture
def root(coco_like, tmp_path):
    """A copy of the folder in COCO form, to be damaged."""
    shutil.copytree(coco_like, tmp_path / "copy")
    return tmp_path / "copy"


def edit(root, change) -> None:
    """Changes the content of the annotation file of the validation split."""
    path = root / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def counts(findings) -> dict[str, int]:
    return {f.kind: f.times for f in findings}


def test_drawn_people_have_no_findings_but_joints_drawn_outside_of_the_picture_are_unlabelled():
    annotations = index_of([draw_people(0, "train", i, 160, 192, 3) for i in range(50)])
    assert counts(find_in_annotations(annotations, np.ones(len(annotations.bbox), bool), max_people=3)) == {}


def test_every_damaged_annotation_is_reported_under_its_kind():
    sound = index_of([draw_people(0, "train", i, 160, 192, 3) for i in range(20)])
    fields = ("bbox", "area", "is_crowd", "is_degenerate", "keypoints", "num_keypoints")
    a = {name: getattr(sound, name).copy() for name in fields}
    a["bbox"][0, 2] = a["area"][0] = 0
    a["bbox"][1, 0] = 500
    a["keypoints"][2], a["num_keypoints"][2] = 0, 0
    a["num_keypoints"][3] += 1
    a["area"][4] *= 3
    a["keypoints"][5, 5, 2] = 7
    a["is_degenerate"][6] = a["is_crowd"][7] = True
    a["keypoints"][8, 0] = (3, 3, 0)
    a["num_keypoints"][8] = (a["keypoints"][8, :, 2] > 0).sum()
    a["keypoints"][9, 0] = (300, 3, 2)
    a["bbox"][10, 2] += 200
    twin = next(o for o in range(11, 40) if sound.picture_of_object[o] == sound.picture_of_object[o + 1])
    a["bbox"][twin + 1], a["area"][twin + 1] = a["bbox"][twin], a["area"][twin]
    index = dataclasses.replace(sound, **a)
    is_target = RECIPE.is_target(index, querypose.get_config().data)
    found = find_in_annotations(index, is_target, max_people=2)
    people = np.bincount(sound.picture_of_object[is_target], minlength=20)
    number = counts(found)
    stray = number.pop("labelled joint outside of its box by more than 25% of its side")
    assert stray >= 2  # those of the boxes that were moved or emptied
    anybody = np.bincount(sound.picture_of_object[~a["is_crowd"]], minlength=20)
    assert number.pop("only crowds on the picture", 0) == (anybody == 0).sum()
    assert number.pop("people on the picture, none of them to train on", 0) == ((people == 0) & (anybody > 0)).sum()
    assert number == {
        "crowd": 1,
        "polygon of fewer than three points": 1,
        "box without width or height, or negative": 1,
        "box outside of the picture": 1,
        "box leaves the picture by more than a pixel": 1,
        "area of zero or less": 1,
        "area larger than the box": 1,
        "person without labelled joints": 1,
        "labelled joint outside of the picture": 1,
        "visibility other than 0, 1, 2": 1,
        "unlabelled joint with coordinates": 1,
        "num_keypoints is not the number of labelled joints": 1,
        "same box twice on a picture": 1,
        "more than 2 people": (people > 2).sum(),
    }
    where = f"annotation {sound.object_id[7]} of {sound.file_name[sound.picture_of_object[7]]}"
    assert next(f for f in found if f.kind == "crowd").examples == [where]


def test_unusable_entries_are_counted_and_the_rest_is_still_looked_at(coco, root):
    coco.data.root = str(root)

    def damage(content):
        del content["annotations"][0]["keypoints"]
        content["annotations"][1]["bbox"] = "somewhere"
        lost = content["images"].pop(0)
        assert any(a["image_id"] == lost["id"] for a in content["annotations"][2:])

    edit(root, damage)
    annotations, findings = check.look_at(coco, "val")
    [unusable] = [f for f in findings if f.stops]
    assert unusable.kind == "unusable annotation"
    assert unusable.times >= 3
    assert "lacks 'keypoints'" in unusable.examples[0]
    assert annotations.num_pictures == 6


def test_every_special_picture_is_reported_under_its_kind(coco, root):
    annotations, _ = check.look_at(coco, "val")
    folder = root / "val2017"
    names = annotations.file_name.tolist()
    (folder / names[0]).write_text("no picture")
    Image.new("RGB", (11, 12)).save(folder / names[1])
    with Image.open(folder / names[2]) as picture:
        picture.convert("L").save(folder / names[2])
    with Image.open(folder / names[3]) as picture:
        picture.copy().save(folder / names[3], "PNG")
    with Image.open(folder / names[4]) as picture:
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        picture.copy().save(folder / names[4], exif=exif)
    (folder / names[5]).unlink()
    (folder / "stranger.jpg").write_bytes(b"")
    found = find_in_pictures(annotations, folder, workers=2)
    assert counts(found) == {
        "picture that cannot be read": 2,
        "picture of another size than the annotation file says": 1,
        "not RGB": 1,
        "no JPEG": 1,
        "EXIF orientation": 1,
        "file without an entry among the pictures used": 1,
    }
    assert {f.kind for f in found if f.stops} == {
        "picture that cannot be read",
        "picture of another size than the annotation file says",
    }


def test_command_reports_draws_charts_and_says_by_its_exit_code_whether_training_can_start(coco_like, root, tmp_path):
    def run(data_root):
        flags = ["--config=configs/coco_r50.py", f"--config.data.root={data_root}", f"--output={tmp_path / 'report'}"]
        command = [sys.executable, "-m", "input_pipeline.check", *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    good = run(coco_like)
    assert good.returncode == 0, good.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["train"]["statistics"]["pictures"] == 24
    assert report["train"]["statistics"]["plan"]["batches"] == querypose.get_config().data.block_batches
    assert len(list((tmp_path / "report").glob("*.png"))) == 6
    edit(root, lambda content: content["annotations"][0].pop("area"))
    bad = run(root)
    assert bad.returncode == 1
    assert "STOPS  unusable annotation: 1" in bad.stdout


def test_statistics_are_counted_right():
    annotations = index_of([draw_people(2, "train", i, 160, 192, 3) for i in range(30)])
    numbers = describe(annotations, np.ones(len(annotations.bbox), bool), COCO)
    per_picture = np.diff(annotations.start)
    assert numbers["people"] == per_picture.sum()
    assert numbers["pictures by people"] == [0, *[int((per_picture == n).sum()) for n in (1, 2, 3)]]
    assert sum(numbers["people by height"]) == per_picture.sum()
    nose = annotations.keypoints[:, 0, 2]
    np.testing.assert_allclose(numbers["visibility"]["nose"], [(nose == v).mean() for v in (0, 1, 2)], atol=1e-4)


def test_plan_statistics_are_those_of_the_batches():
    annotations = index_of([draw_people(2, "train", i, 160, 192, 3) for i in range(16)])
    config = querypose.get_config()
    config.data.update(
        batch_size=4, block_batches=4, max_people=2, crop=0.0, short_sides=(160,), longest_side=192,
        canvases=((192, 192),), people_ladder=(4, 8),
    )  # fmt: skip
    numbers = describe_plan(annotations, config, shards=2)
    per_picture = np.diff(annotations.start)
    assert numbers["padding"] == round(1 - 160 / 192, 4)
    assert numbers["programs"] == numbers["canvases"] == 1
    assert numbers["people beyond data.max_people"] == np.maximum(per_picture - 2, 0).sum()
    people = np.minimum(per_picture, 2).sum()
    assert numbers["people per batch"] == round(people / 4, 2)
    assert numbers["budgeted per person"] == round(4 * 2 * 4 / people, 3)


def test_chart_bars_are_as_high_as_their_values():
    chart = np.asarray(bar_chart("title", ["a", "b", "c"], {"n": [2, 4, 0]}))
    painted = (chart == COLORS[0]).all(-1)
    thirds = (slice(50, 240), slice(260, 450), slice(470, 620))
    left, middle, right = (int(painted[40:, third].sum(0).max()) for third in thirds)
    assert abs(middle / left - 2) < 0.05
    assert right <= 1


def test_bars_narrower_than_a_pixel_are_drawn():
    assert (np.asarray(bar_chart("", [str(n) for n in range(1001)], {"n": range(1001)})) == COLORS[0]).all(-1).any()


def saved(folder, name: str, pixels: np.ndarray, kind: str = "PNG") -> None:
    Image.fromarray(pixels).save(folder / name, kind)


def test_pictures_of_16_bits_that_use_fewer_are_told(tmp_path):
    """12 and 14 bits of 16, in gray and in PNGs of three channels; a dark room is no fault of the file."""
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 2**12, (40, 50)).astype(np.uint16)
    saved(tmp_path, "a12.png", gray)
    saved(tmp_path, "b14.png", gray << 2)
    saved(tmp_path, "c16.png", gray << 4)
    saved(tmp_path, "d12.tiff", gray, "TIFF")
    saved(tmp_path, "e8.png", (gray >> 7).astype(np.uint8))  # nothing above 31 of 255
    saved(tmp_path, "f8.png", (gray >> 4).astype(np.uint8))
    (tmp_path / "g12_rgb.png").write_bytes(png_of_16_bits(np.stack([gray] * 3, -1)))
    (tmp_path / "h16_rgb.png").write_bytes(png_of_16_bits(np.stack([gray << 4] * 3, -1)))
    names = sorted(path.name for path in tmp_path.iterdir())
    drawings = [draw_people(0, "train", i, 40, 50, 1) for i in range(len(names))]
    annotations = dataclasses.replace(index_of(drawings), file_name=np.array(names))
    found = {f.kind: f for f in find_in_pictures(annotations, tmp_path, workers=1)}
    few = found["16 bits of which fewer are used"]
    assert few.times == 4
    assert [example.split(":")[0] for example in few.examples] == ["a12.png", "b14.png", "d12.tiff"]
    assert "multiply the values" in few.consequence and not few.stops
    assert [example.split(":")[0] for example in found["nearly black"].examples] == ["e8.png"]


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """A PNG of three channels with 16 bits each, which Pillow does not write."""
    height, width, _ = pixels.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_habits_of_annotation_tools_that_change_a_score_are_told():
    sound = index_of([draw_people(0, "train", i, 160, 192, 3) for i in range(6)])
    of_box = sound.bbox[:, 2:].prod(-1)
    everybody = np.ones(len(sound.bbox), bool)

    def kinds(**values) -> dict[str, int]:
        return counts(find_in_annotations(dataclasses.replace(sound, **values), everybody, max_people=3))

    area = "area of the box in place of the segment's, everywhere"
    assert kinds() == {}
    assert kinds(object_id=np.arange(len(of_box))) == {"annotation id 0": 1}
    assert kinds(area=of_box) == {area: len(of_box)}
    assert kinds(area=np.round(of_box)) == {area: len(of_box)}
    one_segment = np.where(np.arange(len(of_box)) == 3, 0.6 * of_box, of_box)
    assert kinds(area=one_segment) == {}
    assert kinds(area=of_box, has_area=~everybody) == {}
    none_of_it = dict(category_names=np.array(["person", "root"]), category_ids=np.array([1, 2]))
    assert kinds(**none_of_it) == {"class without annotations": 1}


def test_only_crowds_are_only_crowds():
    """A picture of a crowd, one of a crowd and somebody without a box, one of nobody else than that, one of nobody."""
    sound = index_of([draw_people(0, "train", i, 160, 192, 1) for i in range(5)])
    a = {name: getattr(sound, name).copy() for name in ("is_crowd", "bbox")}
    a["is_crowd"][0] = True
    a["bbox"][1, 2] = 0
    index = dataclasses.replace(sound, **a, start=np.array([0, 1, 2, 3, 5, 5]))  # the fourth has two people
    a["is_crowd"][4], a["bbox"][3, 2] = True, 0
    for keep_empty in (False, True):
        is_target = RECIPE.is_target(index, querypose.get_config().data)
        found = {f.kind: f for f in find_in_annotations(index, is_target, 3, keep_empty)}
        assert [e.split(" ")[0] for e in found["only crowds on the picture"].examples] == [index.file_name[0]]
        nobody = found["people on the picture, none of them to train on"].examples
        assert [e.split(" ")[0] for e in nobody] == [index.file_name[1], index.file_name[3]]
        assert found["nobody on the picture"].consequence.startswith("trained on as a negative") == keep_empty
