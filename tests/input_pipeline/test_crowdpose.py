"""CrowdPose in both layouts, and its two real pictures from files to a training step and numbers."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from configs import crowdpose_r50
from input_pipeline import crowdpose, loader
from querypose_jax.errors import UserError
from querypose_jax.skeletons import CROWDPOSE
from tests import tiny_run

REAL = Path(os.environ.get("QUERYPOSE_DATA", "")) / "crowdpose_mini"
needs_pictures = pytest.mark.skipif(
    not os.environ.get("QUERYPOSE_DATA") or not REAL.is_dir(),
    reason="QUERYPOSE_DATA names no folder with crowdpose_mini",
)
LAYOUTS = ("json/crowdpose_{}.json", "annotations/mmpose_crowdpose_{}.json")


def content(first: int, count: int) -> dict:
    """Pictures first, first + 1, ...; one person each, whose head alone is labelled on the first of them."""
    keypoints = [20 + v if v < 2 else 2 for _ in range(14) for v in range(3)]
    images, people = [], []
    for i in range(first, first + count):
        images.append(dict(id=i, file_name=f"{i}.jpg", height=60, width=80, crowdIndex=i / 10))
        person = dict(id=i, image_id=i, category_id=1, bbox=[10, 10, 20, 30], iscrowd=0, keypoints=keypoints)
        people.append(person | dict(num_keypoints=0 if i == first else 12))
    category = dict(id=1, name="person", skeleton=[[16, 14]])
    return dict(images=images, annotations=people, categories=[category])


def folder(root: Path, layout: str, splits: dict[str, dict]) -> Path:
    for split, values in splits.items():
        path = root / layout.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
        (root / "images").mkdir(exist_ok=True)
        for image in values["images"]:
            Image.new("RGB", (80, 60), (image["id"] * 20, 0, 0)).save(root / "images" / image["file_name"])
    return root


def tiny_config(root: Path, prepared: Path):
    """The data of configs/crowdpose_r50.py with the smallest model."""
    config = tiny_run.get_config()
    del config.data.synthetic
    crowdpose_r50.crowdpose_data(config)
    config.data.update(root=str(root), prepared=str(prepared))
    return config


@pytest.mark.parametrize("layout", LAYOUTS)
def test_trainval_is_train_and_val_where_it_has_no_file_of_its_own(layout, tmp_path):
    root = folder(tmp_path / "crowdpose", layout, {"train": content(1, 3), "val": content(4, 2), "test": content(6, 1)})
    config = tiny_config(root, tmp_path / "prepared")
    split = loader.open_split(config, config.data.train_split)
    truth = split.ground_truth()
    assert [image["id"] for image in truth["images"]] == [1, 2, 3, 4, 5]
    assert [image["crowdIndex"] for image in truth["images"]] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [person["num_keypoints"] for person in truth["annotations"]] == [0, 12, 12, 0, 12]  # as the files say
    assert {person["area"] for person in truth["annotations"]} == {0.53 * 20 * 30}
    assert split.read(3) == (root / "images" / "4.jpg").read_bytes()
    before = split.name
    folder(root, layout, {"trainval": content(1, 5)})
    assert loader.open_split(config, "trainval").name != before
    assert loader.open_split(config, "test").annotations.num_pictures == 1


def test_missing_files_are_named_with_both_layouts_and_the_way_to_get_them(tmp_path):
    config = tiny_config(tmp_path, tmp_path / "prepared")
    with pytest.raises(UserError, match=r"json/crowdpose_train.json: no such file \(nor .*mmpose_crowdpose_train.json"):
        crowdpose.split_files(config.data, "trainval", CROWDPOSE)
    with pytest.raises(UserError, match="'test-dev' is no split of a data set; known: train, val, trainval, test"):
        crowdpose.split_files(config.data, "test-dev", CROWDPOSE)


def test_the_same_annotation_in_train_and_val_is_one_line(tmp_path):
    root = folder(tmp_path, LAYOUTS[0], {"train": content(1, 2), "val": content(2, 2)})
    with pytest.raises(UserError, match="crowdpose_train.json . .*crowdpose_val.json: image number 2 has the id 2"):
        loader.open_split(tiny_config(root, tmp_path / "prepared"), "trainval")


@needs_pictures
@pytest.mark.slow
def test_real_pictures_go_through_builder_a_training_step_and_evaluation(tmp_path, capsys):
    import launch
    from querypose_jax.checkpoints.config_json import write_config

    root = tmp_path / "crowdpose"
    shutil.copytree(REAL, root)
    shutil.copy(root / "json" / "crowdpose_test.json", root / "json" / "crowdpose_trainval.json")
    config = tiny_config(root, tmp_path / "prepared")
    config.train.update(num_steps=1, log_every=1)
    config.eval.released_rescore = True
    write_config(tmp_path, config)
    source = "from pathlib import Path\nfrom querypose_jax.checkpoints.config_json import read_config\n"
    source += f"get_config = lambda: read_config(Path({str(tmp_path)!r}))\n"
    (tmp_path / "run.py").write_text(source)
    assert launch.main(["launch.py", f"--config={tmp_path}/run.py", f"--workdir={tmp_path}/run"]) == 0
    shown = capsys.readouterr().out
    assert "APmedium" in shown
    assert "keypoint_released_rescore" in shown
    metrics = json.loads((tmp_path / "run" / "eval" / "1" / "metrics.json").read_text())
    assert metrics["keypoint/APeasy"] == metrics["keypoint/APhard"] == -1.0  # both pictures are of medium crowding
    assert 0 <= metrics["keypoint/APmedium"] <= 1
    assert len(list((tmp_path / "run" / "eval" / "1" / "pictures").iterdir())) == 2


@needs_pictures
def test_real_annotations_become_targets_inside_their_boxes(tmp_path):
    config = tiny_config(REAL, tmp_path)
    split = loader.open_split(config, "test")
    assert split.annotations.crowd_index.tolist() == [0.39, 0.33]  # by id
    batches = list(loader.eval_batches(config, split, shards=1))
    batch = jax.tree.map(lambda *fields: np.concatenate(fields), *batches)
    assert batch.keypoints.shape[2] == 14
    assert batch.is_person.sum() == 5
    people = batch.keypoints[batch.is_person]
    labelled = people[..., 2] > 0
    listed = json.loads((REAL / "json" / "crowdpose_test.json").read_text())["annotations"]
    assert labelled.sum() == sum(v > 0 for person in listed for v in person["keypoints"][2::3])
    boxes = batch.boxes[batch.is_person][:, None]
    inside = ((people[..., :2] >= boxes[..., :2] - 4) & (people[..., :2] <= boxes[..., 2:] + 4)).all(-1)
    assert inside[labelled].mean() > 0.95
