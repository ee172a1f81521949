"""Data of one's own: what the configuration says is what is read."""

import json

import numpy as np
import pytest

from configs import custom_example
from input_pipeline import check, loader
from querypose_jax.checkpoints.config_json import read_config, write_config
from querypose_jax.configuration.check_config import check_config
from querypose_jax.errors import UserError
from querypose_jax.skeletons import get_skeleton
from tests.insects import write_insects


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "insects"
    write_insects(folder, train=4, val=2)
    return folder


@pytest.fixture
def config(root, tmp_path):
    config = custom_example.get_config()
    config.data.update(root=str(root), prepared=str(tmp_path / "prepared"), batch_size=2, workers=1)
    check_config(config)
    return config


def test_labels_follow_the_configuration_and_batches_have_its_joints(config):
    split = loader.open_split(config, "train")
    assert split.annotations.category_names.tolist() == ["beetle", "ant"]
    assert split.annotations.category_ids.tolist() == [3, 7]
    assert split.skeleton == get_skeleton(config.data.skeleton)
    batches = loader.train_batches(config, split, start_step=0, shards=1)
    batch = next(batches)
    batches.close()
    assert batch.keypoints.shape[2] == 9
    assert set(batch.label[batch.is_person]) <= {0, 1}
    np.testing.assert_allclose(split.annotations.num_keypoints, 9)  # worked out: the file has none
    assert (split.annotations.area > 0).all()


def test_a_described_skeleton_survives_the_file_of_the_run(config, tmp_path):
    write_config(tmp_path, config)
    assert get_skeleton(read_config(tmp_path).data.skeleton) == get_skeleton(config.data.skeleton)


def test_check_reads_data_of_ones_own_too(config):
    annotations, findings = check.look_at(config, "val")
    assert annotations.num_pictures == 2
    assert not any(finding.stops for finding in findings)


MISFITS = [
    (
        lambda c: c.data.custom.update(val=("no.json", "pictures")),
        r"insects/no.json: no such file. config.data.custom",
    ),
    (
        lambda c: c.data.custom.update(val=("annotations/val.json", "no")),
        r"insects/no: no such folder. config.data",
    ),
    (lambda c: c.data.custom.update(val=("a", "b", "c")), "config.data.custom.val must be a pair"),
    (lambda c: c.data.custom.update(categories=("beetle", "wasp")), "has no category 'wasp'; it has ant, beetle"),
    (lambda c: c.data.custom.update(categories=("ant",)), "the classes ant; set model.num_classes to 1"),
    (lambda c: c.model.update(num_classes=1), "the classes beetle, ant; set model.num_classes to 2"),
    (lambda c: c.model.update(num_classes=3), "the classes beetle, ant; set model.num_classes to 2"),
    (lambda c: c.data.skeleton.update(names=("a", "b"), flip_pairs=(), edges=(), sigmas=()), "6 finite numbers"),
    (lambda c: c.data.custom.__delattr__("val"), "'val' is no split .*; known: train"),
]


@pytest.mark.parametrize(("change", "message"), MISFITS)
def test_what_does_not_fit_is_one_line(config, change, message):
    change(config)
    with pytest.raises(UserError, match=message) as error:
        loader.open_split(config, "val")
    assert "\n" not in str(error.value)


def test_without_the_group_the_example_is_named(config):
    del config.data.custom
    with pytest.raises(UserError, match="no group data.custom .* configs/custom_example.py"):
        loader.open_split(config, "val")


def test_the_server_s_split_has_pictures_only(tmp_path, coco, coco_like):
    """COCO's test-dev: a file without annotations that lists all 80 categories."""
    listed = json.loads((coco_like / "annotations" / "person_keypoints_val2017.json").read_text())["images"]
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "test2017").symlink_to(coco_like / "val2017")
    categories = [dict(id=i, name="person" if i == 1 else f"thing {i}") for i in range(80, 0, -1)]
    path = root / "annotations" / "image_info_test-dev2017.json"
    path.write_text(json.dumps(dict(images=listed, categories=categories)))
    coco.data.root = str(root)
    split = loader.open_split(coco, "test-dev")
    assert not split.is_labelled
    truth = split.ground_truth()
    assert truth["annotations"] == []
    assert [category["id"] for category in truth["categories"]] == [1]
    ids = np.concatenate([batch.image_id for batch in loader.eval_batches(coco, split, shards=1)])
    assert sorted(ids) == sorted(image["id"] for image in listed)
