"""Files in COCO form: what is read, and what is said about broken ones."""

import json

import numpy as np
import pytest

from configs import querypose
from input_pipeline.annotations import (
    count_per_picture,
    fingerprint,
    ground_truth,
    load_annotations,
    pictures_with_largest_people,
    save_annotations,
    select_pictures,
)  # fmt: skip
from input_pipeline.batching import training_amounts
from input_pipeline.split_files import SplitFiles, read_split
from querypose_jax.errors import UserError
from querypose_jax.recipes.querypose import RECIPE
from querypose_jax.skeletons import COCO, CROWDPOSE


def person(**values) -> dict:
    joints = [float(v) for j in range(17) for v in (10 + j, 20.25 + j, j % 3)]
    default = dict(
        id=1, image_id=5, category_id=1, bbox=[1.5, 2.25, 30.0, 40.0], area=640.125, iscrowd=0, num_keypoints=11
    )
    return default | dict(keypoints=joints) | values


def content() -> dict:
    images = [dict(id=i, file_name=f"{i}.jpg", height=60 + i, width=50) for i in (9, 5, 7)]
    objects = [
        person(id=900100000005, image_id=9, iscrowd=1, num_keypoints=0, segmentation={"counts": [1], "size": [2, 2]}),
        person(id=3, segmentation=[[1, 2, 3, 4]]),
        person(id=2, image_id=9, bbox=[0, 0, 5, 5], segmentation=[[1, 2, 3, 4, 5, 6], [1]]),
        person(id=1, segmentation=[]),
    ]
    return dict(images=images, annotations=objects, categories=[dict(id=1, name="person")])


@pytest.fixture
def read(tmp_path):
    def write_and_read(value, skeleton=COCO, split="val", **how):
        path = tmp_path / "people.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return read_split(SplitFiles(split, (path,), tmp_path, skeleton, **how))

    return write_and_read


def test_pictures_are_sorted_by_id_and_objects_keep_the_order_of_the_file(read):
    annotations = read(content())
    np.testing.assert_array_equal(annotations.image_id, [5, 7, 9])
    np.testing.assert_array_equal(annotations.size, [[65, 50], [67, 50], [69, 50]])
    np.testing.assert_array_equal(annotations.start, [0, 2, 2, 4])
    np.testing.assert_array_equal(annotations.object_id, [3, 1, 900100000005, 2])


def test_crowds_and_degenerate_polygons_are_kept_but_not_trained_on(read):
    annotations = read(content())
    data = querypose.get_config().data
    is_target = RECIPE.is_target(annotations, data)
    np.testing.assert_array_equal(is_target, [False, True, False, True])
    data.drop_degenerate_polygons = False
    np.testing.assert_array_equal(RECIPE.is_target(annotations, data), [True, True, False, True])
    np.testing.assert_array_equal(annotations.is_crowd, [False, False, True, False])
    np.testing.assert_array_equal(count_per_picture(annotations, is_target), [1, 0, 1])


def test_ground_truth_gives_back_the_values_of_the_file(read):
    truth = ground_truth(read(content()), COCO)
    expected = {a["id"]: {k: v for k, v in a.items() if k != "segmentation"} for a in content()["annotations"]}
    assert {a["id"]: a for a in truth["annotations"]} == expected
    assert truth["images"] == sorted(content()["images"], key=lambda image: image["id"])
    [category] = truth["categories"]
    assert category["keypoints"] == list(COCO.names)
    assert category["skeleton"][0] == [16, 14]


def test_saved_and_selected_index_is_the_same_data(read, tmp_path):
    annotations = read(content())
    save_annotations(annotations, tmp_path / "index.npz")
    assert fingerprint(load_annotations(tmp_path / "index.npz")) == fingerprint(annotations)
    everything = select_pictures(annotations, np.arange(3))
    assert fingerprint(everything) == fingerprint(annotations)
    last = select_pictures(annotations, np.array([2]))
    np.testing.assert_array_equal(last.object_id, [900100000005, 2])
    np.testing.assert_array_equal(last.start, [0, 2])
    assert fingerprint(last) != fingerprint(annotations)


def test_pictures_with_the_largest_people_ignore_crowds_and_people_without_joints(read):
    value = content()
    value["annotations"] += [
        person(id=10, image_id=7, bbox=[0, 0, 50, 67], num_keypoints=0),
        person(id=11, image_id=7, bbox=[0, 0, 6, 6]),
    ]
    annotations = read(value)
    is_target = RECIPE.is_target(annotations, querypose.get_config().data)
    np.testing.assert_array_equal(pictures_with_largest_people(annotations, is_target, 2), [0, 1])


def without(key: str, kind: str) -> dict:
    value = content()
    del value[kind][1][key]
    return value


def changed(**values) -> dict:
    value = content()
    value["annotations"][1].update(values)
    return value


BROKEN = [
    ("<html>not found</html>", r"people.json: is not JSON \(.*\); download or export it again"),
    (["a list"], "has no lists 'images' and 'annotations'"),
    (dict(images=[]), "has no lists 'images' and 'annotations'"),
    (without("file_name", "images"), "image number 1 lacks 'file_name'"),
    (without("area", "annotations"), "annotation number 1 lacks 'area'"),
    (changed(id=1), "annotation number 3 has the id 1"),
    (changed(image_id=6), r"annotation number 1 \(id 3\) belongs to image 6, which the file does not list"),
    (changed(bbox=[1, 2, 3]), r"\(id 3\): bbox must be four finite numbers"),
    (changed(bbox=[1, 2, 3, float("nan")]), r"\(id 3\): bbox must be four finite numbers"),
    (changed(area=None), r"\(id 3\): area, num_keypoints, iscrowd and category_id must be numbers"),
    (changed(keypoints=[1, 2, 2]), r"\(id 3\): keypoints must be 51 finite numbers"),
    (changed(num_keypoints=18), r"\(id 3\): num_keypoints is 18, not 0 to 17"),
    (changed(num_keypoints=-1), r"\(id 3\): num_keypoints is -1, not 0 to 17"),
    (changed(category_id=4), r"annotation number 1 \(id 3\) is of category 4, the file has 1;"),
    (content() | dict(categories=[dict(id="a", name="b")]), "'categories' must be a list of entries with an id"),
    (dict(images=[], annotations=[]), "lists no pictures, the split 'val' is empty"),
]


@pytest.mark.parametrize(("value", "message"), BROKEN)
def test_a_broken_file_is_one_line_that_says_where(read, value, message):
    with pytest.raises(UserError, match=message) as error:
        read(value)
    assert "\n" not in str(error.value)


def test_another_skeleton_than_the_file_has_is_named(read):
    with pytest.raises(UserError, match="keypoints must be 42 finite numbers.*'crowdpose'"):
        read(content(), CROWDPOSE)


def test_a_file_without_people_is_an_empty_index(read):
    annotations = read(dict(images=content()["images"], annotations=[]))
    assert annotations.keypoints.shape == (0, 17, 3)
    assert ground_truth(annotations, COCO)["annotations"] == []


def two_classes() -> dict:
    value = content()
    value["categories"] = [dict(id=7, name="cat"), dict(id=1, name="dog"), dict(id=3, name="cow")]
    for annotation, category in zip(value["annotations"], (1, 7, 3, 1), strict=True):
        annotation["category_id"] = category
    return value


def test_labels_count_the_wanted_categories_in_their_order_and_others_are_left_out(read):
    annotations = read(two_classes(), categories=("dog", "cat"))
    assert annotations.category_names.tolist() == ["dog", "cat"]
    assert annotations.category_ids.tolist() == [1, 7]
    assert annotations.object_id.tolist() == [3, 1, 900100000005]
    assert annotations.label.tolist() == [1, 0, 0]
    assert read(two_classes()).category_names.tolist() == ["dog", "cow", "cat"]  # all, by id


def test_a_category_that_the_file_lacks_is_named(read):
    with pytest.raises(UserError, match="has no category 'horse'; it has cat, dog, cow"):
        read(two_classes(), categories=("dog", "horse"))


def test_a_training_split_without_anybody_is_one_line(read):
    value = content()
    for annotation in value["annotations"]:
        annotation["iscrowd"] = 1
    with pytest.raises(UserError, match="no picture of the training split has a person to train on"):
        training_amounts(querypose.get_config().data, read(value, split="train"))


def test_what_annotations_may_lack_is_worked_out_and_what_is_there_stays(read):
    value = content()
    for key in ("area", "iscrowd", "num_keypoints"):
        del value["annotations"][2][key]
    value["annotations"][2]["keypoints"][2::3] = [2] * 3 + [1] * 2 + [0] * 12
    with pytest.raises(UserError, match="annotation number 2 lacks 'area'"):
        read(value)
    filled = read(value, may_lack=("area", "iscrowd", "num_keypoints"))
    assert filled.area.tolist() == [640.125, 640.125, 640.125, pytest.approx(0.53 * 25)]
    assert filled.num_keypoints.tolist() == [11, 11, 0, 5]  # joints with visibility 1 or 2
    assert filled.is_crowd.tolist() == [False, False, True, False]


def test_crowd_index_follows_its_picture_and_is_absent_where_no_picture_has_one(read, tmp_path):
    value = content()
    value["images"][0]["crowdIndex"], value["images"][1]["crowdIndex"] = 0.25, 0
    annotations = read(value)
    np.testing.assert_array_equal(annotations.crowd_index, [0, np.nan, 0.25])
    save_annotations(annotations, tmp_path / "index.npz")
    some = select_pictures(load_annotations(tmp_path / "index.npz"), np.array([2, 1]))
    assert [image.get("crowdIndex") for image in ground_truth(some, COCO)["images"]] == [0.25, None]
    assert read(content()).crowd_index is None
    value["images"][0]["crowdIndex"] = "high"
    with pytest.raises(UserError, match=r"image number 0 \(id 9\): crowdIndex must be a number"):
        read(value)
