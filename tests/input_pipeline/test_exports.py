"""What annotation tools write: classes twice, paths of their own machine, things left out, boxes as polygons."""

import json

import numpy as np
import pytest

from configs import custom_example
from input_pipeline import check, loader
from input_pipeline.picture_names import match_name
from input_pipeline.skipping import NO_NUMBERS
from querypose_jax.errors import UserError
from querypose_jax.evaluation.coco import box_metrics
from tests.insects import write_insects


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "insects"
    write_insects(folder, train=4, val=3)
    return folder


@pytest.fixture
def config(drawn, tmp_path):
    """The insects, with annotation files of their own; `rewrite` changes them."""
    root = tmp_path / "insects"
    (root / "annotations").mkdir(parents=True)
    (root / "pictures").symlink_to(drawn / "pictures")
    for split in ("train", "val"):
        name = f"annotations/{split}.json"
        (root / name).write_text((drawn / name).read_text())
    config = custom_example.get_config()
    config.data.update(root=str(root), prepared=str(tmp_path / "prepared"), batch_size=2, workers=1)
    return config


def rewrite(config, change, split: str = "val") -> dict:
    """Changes the content of an annotation file; returns it."""
    path = f"{config.data.root}/annotations/{split}.json"
    with open(path) as file:
        content = json.load(file)
    change(content)
    with open(path, "w") as file:
        json.dump(content, file)
    return content


def kinds(config, split: str = "val") -> dict[str, bool]:
    """What the check finds, and whether it stops."""
    return {finding.kind: finding.stops for finding in check.look_at(config, split)[1]}


def root_and_classes(order: list[int], annotated: int, other: int):
    """`ant` (7) is listed a second time, under the id `other`; its annotations have the id `annotated`."""

    def change(content):
        listed = [dict(id=3, name="beetle"), dict(id=7, name="ant"), dict(id=other, name="ant", supercategory="none")]
        content["categories"] = [listed[i] for i in order]
        for annotation in content["annotations"]:
            if annotation["category_id"] == 7:
                annotation["category_id"] = annotated

    return change


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
@pytest.mark.parametrize(
    ("other", "categories"),  # a root before and after the class, one entry twice
    [(0, ()), (0, ("ant", "beetle")), (9, ()), (7, ())],
)
def test_a_class_listed_twice_is_one_class_in_every_order(config, order, other, categories):
    before = loader.open_split(config, "val").annotations
    names = before.category_names[before.label].tolist()
    assert set(names) == {"ant", "beetle"}
    config.data.custom.categories = categories
    for annotated in {7, other}:
        rewrite(config, root_and_classes(order, annotated, other))
        assert not any(kinds(config).values())
        split = loader.open_split(config, "val")
        assert split.annotations.category_names[split.annotations.label].tolist() == names
        truth = split.ground_truth()
        assert {c["name"]: c["id"] for c in truth["categories"]} == {"beetle": 3, "ant": annotated}
        assert {a["category_id"] for a in truth["annotations"]} == {3, annotated}
        rewrite(
            config, lambda content: [a.update(category_id=7) for a in content["annotations"] if a["category_id"] != 3]
        )


def test_two_ids_of_one_name_that_both_have_annotations_are_one_class(config, capfd):
    def change(content):
        content["categories"].append(dict(id=1, name="beetle"))
        content["annotations"][0]["category_id"] = 1

    content = rewrite(config, change)
    split = loader.open_split(config, "val")
    assert len(split.annotations.label) == len(content["annotations"])
    assert "'categories' has 'beetle' with the ids 1, 3: one class, with the id 1" in capfd.readouterr().err
    assert kinds(config)["read otherwise than it is written"] is False


def swap_ids(content) -> None:
    """Exchanges the ids of the two classes: without `categories` in the configuration labels count by id."""
    other = {3: 7, 7: 3}
    for category in content["categories"]:
        category["id"] = other[category["id"]]
    for annotation in content["annotations"]:
        annotation["category_id"] = other[annotation["category_id"]]


def test_perfect_predictions_score_perfectly_whatever_the_order_of_the_classes_in_each_file(config):
    config.data.custom.categories = ()
    rewrite(config, swap_ids)
    train = loader.open_split(config, "train")
    val = loader.open_split(config, "val", train.classes)
    truth = val.ground_truth()
    assert train.classes == val.classes == ("beetle", "ant")
    content = rewrite(config, lambda content: None)
    name_of = {category["id"]: category["name"] for category in content["categories"]}
    found = [  # a model's labels count the classes of its training
        annotation
        | dict(
            category_id=truth["categories"][train.classes.index(name_of[annotation["category_id"]])]["id"], score=1.0
        )
        for annotation in content["annotations"]
    ]
    assert {a["category_id"] for a in truth["annotations"]} == {3, 7}
    assert box_metrics(truth, found)["box/AP"] == 1
    with pytest.raises(UserError, match="has the classes ant, beetle, the model is trained on ant, bee; name them"):
        loader.open_split(config, "val", ("ant", "bee"))


def test_one_id_of_two_classes_is_one_line(config):
    rewrite(config, lambda content: content["categories"].append(dict(id=3, name="wasp")))
    for look in (loader.open_split, check.look_at):
        with pytest.raises(UserError, match="has the id 3 twice, as 'beetle' and as 'wasp'; give every class an id"):
            look(config, "val")


NUMBERS = [float("nan"), float("inf"), None, 1e12, "", [1]]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("visibility", [0, 0.0])
def test_coordinates_of_unlabelled_joints_are_not_read(config, number, visibility):
    def change(content):
        content["annotations"][0]["keypoints"][:3] = [number, number, visibility]

    rewrite(config, change)
    assert not any(kinds(config).values())
    split = loader.open_split(config, "val")
    np.testing.assert_array_equal(split.annotations.keypoints[0, 0], 0)
    assert split.annotations.num_keypoints[0] == 8
    json.dumps(split.ground_truth(), allow_nan=False)
    rewrite(config, lambda content: content["annotations"][0]["keypoints"].__setitem__(2, 2))  # labelled: it is read
    assert any(kinds(config).values())
    with pytest.raises(UserError, match="keypoints must be 27 finite numbers"):
        loader.open_split(config, "val")


@pytest.mark.parametrize("keypoints", ["missing", None, []])
def test_a_box_without_joints_is_somebody_to_find(config, keypoints):
    def change(content):
        for annotation in content["annotations"]:
            annotation["keypoints"] = keypoints
            if keypoints == "missing":
                del annotation["keypoints"]

    for some in (lambda content: change(dict(annotations=content["annotations"][:1])), change):
        rewrite(config, some, "train")
        assert not any(kinds(config, "train").values())
        split = loader.open_split(config, "train")
        assert split.annotations.num_keypoints[0] == 0
        assert split.annotations.area[0] > 0
        [batch] = loader.train_batches(config, split, start_step=0, shards=1, stop_step=1)
        assert batch.is_person.any()
    assert not batch.keypoints.any()


def test_what_is_null_is_left_out(config):
    content = rewrite(config, lambda c: c["annotations"][0].update(area=None, iscrowd=None, num_keypoints=None))
    annotations = loader.open_split(config, "val").annotations
    assert annotations.area[0] == pytest.approx(0.53 * np.prod(content["annotations"][0]["bbox"][2:]))
    assert annotations.num_keypoints[0] == 9
    assert not annotations.has_area[0]


SEGMENTATIONS = {
    "nothing in it": [[]],
    "box as polygon": [[10, 10, 30, 40]],
    "one point": [[10, 10]],
    "no list": {},
    "text": "none",
    "null": None,
}


@pytest.mark.parametrize("segmentation", SEGMENTATIONS.values(), ids=SEGMENTATIONS)
def test_data_of_ones_own_go_by_box_and_joints_whatever_the_segmentation(config, segmentation):
    before = loader.open_split(config, "train")
    rewrite(config, lambda c: [a.update(segmentation=segmentation) for a in c["annotations"]], "train")
    assert not any(kinds(config, "train").values())
    assert "polygon of fewer than three points" not in kinds(config, "train")
    after = loader.open_split(config, "train")
    [expected], [batch] = (
        loader.train_batches(config, split, start_step=0, shards=1, stop_step=1) for split in (before, after)
    )
    assert expected.is_person.any()
    np.testing.assert_array_equal(batch.is_person, expected.is_person)


SPELLINGS = (
    "/home/me/data/{}",
    "C:\\data\\pics\\{}",
    "\\\\host\\share\\{}",
    "../pictures/{}",
    "a/../{}",
    "sub\\{}",
    "./{}",
    "http://localhost:8080/data/upload/{}",
    "/data/local-files/?d={}",
    "file:///data/{}",
    "https://host/my%20pictures/{}?raw=1#top",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_paths_of_another_machine_are_matched_by_their_last_part(config, spelling, capfd):
    names = [image["file_name"] for image in rewrite(config, lambda content: None)["images"]]
    rewrite(config, lambda c: [image.update(file_name=spelling.format(image["file_name"])) for image in c["images"]])
    found = kinds(config)
    assert not any(found.values())
    assert "file without an entry among the pictures used" in found  # those of the other split, and only those
    split = loader.open_split(config, "val")
    assert split.annotations.file_name.tolist() == names
    said = capfd.readouterr().err
    if spelling != "./{}":
        assert f"{len(names)} file names are paths of another machine" in said and repr(names[0]) in said
        assert "read otherwise than it is written" in found
    others = next(f for f in check.look_at(config, "val")[1] if f.kind.startswith("file without"))
    assert others.times == 4  # of the training split


@pytest.mark.parametrize(
    "name", ["https://host/a%20b.jpg?raw=1", "/data/local-files/?d=new%20ones/a%20b.jpg", "C:\\a b.jpg"]
)
def test_addresses_are_spelled_otherwise_than_files(name):
    assert match_name(name, {"a b.jpg": ["a b.jpg"], "c.jpg": ["c.jpg"]}) == "a b.jpg"
    as_it_is = name.split("?raw")[0].split("/")[-1].split("\\")[-1]
    both = {"a b.jpg": ["a b.jpg"], as_it_is: [as_it_is]}
    assert match_name(name.split("?raw")[0], both) == as_it_is, "a file that is called so comes first"


def test_more_of_a_path_decides_where_files_have_one_name_and_else_it_is_refused(config, drawn, tmp_path):
    picture = (drawn / "pictures" / "00004.jpg").read_bytes()
    for name in ("field/1.jpg", "barn/1.jpg", "2.jpg"):
        path = tmp_path / "insects" / "more" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    config.data.custom.val = ("annotations/val.json", "more")
    sound = rewrite(config, lambda content: None)

    def name_them(*names):
        def change(content):
            content.update(sound)
            content["images"] = [image | {"file_name": n} for image, n in zip(content["images"], names, strict=False)]
            ids = {image["id"] for image in content["images"]}
            content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]

        rewrite(config, change)

    name_them("C:\\data\\barn\\1.jpg", "/data/field/1.jpg", "/x/2.jpg")
    assert not any(kinds(config).values())
    assert loader.open_split(config, "val").annotations.file_name.tolist() == ["barn/1.jpg", "field/1.jpg", "2.jpg"]
    for names in (("/data/1.jpg",), ("/x/2.jpg", "2.jpg"), ("/x/2.jpg", "/y/2.jpg"), ("/x/3.jpg",)):
        name_them(*names)
        assert kinds(config)["unusable image"]
        with pytest.raises(UserError, match="a path inside of the picture folder, or end like exactly one file there"):
            loader.open_split(config, "val")


@pytest.mark.parametrize(
    ("joints", "refused"),
    [
        (("head", "middle", "tail", "right_front", "left_front", "left_hind", "right_hind", "l", "r"), True),
        (("Head", "MIDDLE", "tail", "leftFront", "rightFront", "left-hind", "right hind", "l", "r"), False),
        (("a", "b", "c", "d", "e", "f", "g", "h", "i"), False),
        ((), False),
    ],
)
def test_joints_of_the_file_in_another_order_than_the_configuration_are_refused(config, joints, refused):
    rewrite(config, lambda c: [category.update(keypoints=list(joints)) for category in c["categories"]])
    found = kinds(config)
    assert any(found.values()) == refused
    if refused:
        with pytest.raises(UserError, match="but config.data.skeleton has left_front at another place; give its names"):
            loader.open_split(config, "val")
    else:
        loader.open_split(config, "val")
        assert ("joint with another name in the file" in found) == ("i" in joints or "l" in joints)


def test_joints_of_a_class_that_is_not_wanted_do_not_matter(config):
    rewrite(config, lambda c: c["categories"].append(dict(id=1, name="root", keypoints=["tail", "head"])))
    assert not any(kinds(config).values())
    loader.open_split(config, "val")


def sides(config, **skeleton) -> None:
    config.data.skeleton.update(skeleton)
    for key in [key for key, value in skeleton.items() if value is None]:
        del config.data.skeleton[key]


@pytest.mark.parametrize("pairs", [None, (), (("left_front", "right_front"),)])
def test_sides_that_nobody_paired_are_paired_by_name_and_flipped(config, pairs):
    whole = loader.open_split(config, "train").skeleton
    sides(config, flip_pairs=pairs)
    split = loader.open_split(config, "train")
    assert split.skeleton.flip_index == whole.flip_index
    [paired] = [f for f in check.look_at(config, "train")[1] if f.kind == "paired by name"]
    assert "left_hind - right_hind" in paired.examples[0]
    assert ("left_front" in paired.examples[0]) == (not pairs)


def test_a_side_without_a_partner_stops_mirrored_training_until_something_decides(config):
    names = ("head", "middle", "tail", "left_front", "other_front", "left_hind", "right_hind", "x", "y")
    sides(config, names=names, flip_pairs=(), edges=())
    assert any(kinds(config, "train").values())
    with pytest.raises(UserError, match=r"joint 'left_front' has a side.*pair it, or set data.flip=0"):
        loader.open_split(config, "train")
    loader.open_split(config, "val")
    for decided in (dict(flip=0.0), dict(flip=0.5, skeleton=dict(flip_pairs=(("left_front", "other_front"),)))):
        config.data.update(decided)
        assert not any(kinds(config, "train").values())
        loader.open_split(config, "train")


def test_annotations_without_numbers_still_count_as_before(config):
    rewrite(config, lambda c: c["annotations"][0]["bbox"].__setitem__(0, float("nan")))
    assert kinds(config)[NO_NUMBERS]
