"""A run of nine insect joints and two classes starts from weights of seventeen joints of people, family by family: what
is the same is carried over to the bit, what is not is as it was drawn."""

import functools
import re
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from configs import custom_example
from querypose_jax.checkpoints.carry import rows_for
from querypose_jax.checkpoints.checkpoint import named_leaves, save_model
from querypose_jax.checkpoints.names import Names
from querypose_jax.checkpoints.start import start_from
from querypose_jax.errors import UserError
from querypose_jax.models.registry import abstract_model, family_of
from querypose_jax.skeletons import COCO, get_skeleton

HOMES = {
    "querypose": "configs.synthetic_tiny",
    "edpose": "configs.edpose.synthetic_tiny",
    "grouppose": "configs.grouppose.synthetic_tiny",
    "simplepose": "configs.simplepose.synthetic_tiny",
}
PEOPLE = Names(("person",), COCO.names)
INSECTS = custom_example.get_config().data.skeleton
MAP = (("head", "nose"), ("left_front", "left_wrist"), ("right_front", "right_wrist"), ("ant", "person"))


def of_people(family: str) -> ConfigDict:
    return import_module(HOMES[family]).get_config()


def of_insects(family: str) -> ConfigDict:
    config = of_people(family)
    del config.data.skeleton
    config.data.skeleton = INSECTS
    config.model.num_classes = 2
    config.init_map = MAP
    return config


@functools.cache
def shapes(family: str, of: str) -> nnx.State:
    """Of a model of people or of insects, without building it."""
    return abstract_model({"people": of_people, "insects": of_insects}[of](family))[1]


def drawn(abstract: nnx.State, seed: int) -> nnx.State:
    """Numbers that are all different."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jax.numpy.asarray(rng.normal(size=x.shape).astype(x.dtype)), abstract)


@functools.cache
def started(family: str, folder: Path) -> tuple[dict, dict, dict, object, list[str]]:
    """Arrays of the weights, of the fresh model before and after, the table and its lines."""
    there, here = of_people(family), of_insects(family)
    saved, before = drawn(shapes(family, "people"), 0), drawn(shapes(family, "insects"), 1)
    save_model(folder, there, saved, names=PEOPLE._asdict())
    names = Names(("beetle", "ant"), get_skeleton(INSECTS).names)
    after, table, lines = start_from(folder, here, before, names)
    arrays = ({name: np.asarray(x) for name, x in named_leaves(state).items()} for state in (saved, before, after))
    return *arrays, table, lines


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {family: tmp_path_factory.mktemp(family) / "run" for family in HOMES}


@pytest.mark.parametrize("family", HOMES)
def test_every_array_is_either_that_of_the_weights_or_as_drawn_but_for_rows_of_the_same_name(family, folders):
    saved, before, after, table, _ = started(family, folders[family])
    for name, array in after.items():
        if name in table.kept:
            np.testing.assert_array_equal(array, saved[name])
        elif name in table.drawn:
            np.testing.assert_array_equal(array, before[name])
        else:
            assert name in table.in_part
            changed = array != before[name]
            assert changed.any() and not changed.all()
    assert sorted([*table.kept, *table.in_part, *table.drawn]) == sorted(after)
    assert len(table.kept) > 0.9 * len(after)


@pytest.mark.parametrize("family", HOMES)
def test_whatever_has_another_shape_for_other_joints_and_classes_has_rows(family):
    """Else it would be drawn although half of it is known, or kept although it means something else."""
    there, here = of_people(family), of_insects(family)
    sides = [{n: x.shape for n, x in named_leaves(shapes(family, of)).items()} for of in ("people", "insects")]
    rows = [family_of(c).rows(c, classes) for c, classes in ((there, ("person",)), (here, ("beetle", "ant")))]
    by_name = [{name: rows_for(name, rows[i]) for name in sides[i]} for i in (0, 1)]
    for side in (0, 1):
        for name, found in by_name[side].items():
            assert found is None or sides[side][name][found.axis] == len(found.keys), name
    for name in sides[0].keys() & sides[1].keys():
        if sides[0][name] != sides[1][name]:
            assert by_name[0][name] and by_name[1][name], name
    unused = {pattern for pattern in rows[0] if not any(re.search(pattern, name) for name in sides[0])}
    assert not unused


def row(arrays: dict, name: str, index: int, axis: int = 0) -> np.ndarray:
    return np.take(arrays[name], index, axis)


HEAD, FRONT, MIDDLE, NOSE, WRIST = 0, 3, 1, 0, 9  # insects' head, left_front, middle; people's nose, left_wrist


@pytest.mark.parametrize(
    ("family", "name", "axis"),
    [
        ("querypose", "pose_decoders.1.coordinates.kernel", 0),
        ("querypose", "pose_decoders.0.uncertainty.bias", 0),
        ("grouppose", "joint_embeddings", 0),
        ("edpose", "joint_embeddings", 0),
        ("simplepose", "network.heatmaps.0.kernel", -1),
    ],
)
def test_a_joints_row_is_that_of_the_joint_it_is_mapped_to_and_others_are_drawn(family, name, axis, folders):
    saved, before, after, _, _ = started(family, folders[family])
    np.testing.assert_array_equal(row(after, name, HEAD, axis), row(saved, name, NOSE, axis))
    np.testing.assert_array_equal(row(after, name, FRONT, axis), row(saved, name, WRIST, axis))
    np.testing.assert_array_equal(row(after, name, MIDDLE, axis), row(before, name, MIDDLE, axis))


def test_x_and_y_of_a_joint_stay_together(folders):
    saved, before, after, _, _ = started("grouppose", folders["grouppose"])
    name = "token_pose.layers.3.bias"
    np.testing.assert_array_equal(after[name][2 * FRONT : 2 * FRONT + 2], saved[name][2 * WRIST : 2 * WRIST + 2])
    np.testing.assert_array_equal(after[name][2 * MIDDLE : 2 * MIDDLE + 2], before[name][2 * MIDDLE : 2 * MIDDLE + 2])


def test_a_part_of_one_joint_starts_from_the_part_that_the_joint_was_in(folders):
    saved, before, after, _, _ = started("querypose", folders["querypose"])
    np.testing.assert_array_equal(after["part_queries"][HEAD], saved["part_queries"][0])  # the face
    np.testing.assert_array_equal(after["part_queries"][FRONT], saved["part_queries"][2])  # the left arm
    np.testing.assert_array_equal(after["part_queries"][MIDDLE], before["part_queries"][MIDDLE])


@pytest.mark.parametrize(("family", "nobody"), [("edpose", 1), ("grouppose", 1), ("querypose", 0)])
def test_classes_are_carried_over_by_name_and_the_column_of_nobody_as_it_is(family, nobody, folders):
    saved, before, after, _, _ = started(family, folders[family])
    name = "box_decoders.0.class_logits.kernel" if family == "querypose" else "class_heads.1.kernel"
    np.testing.assert_array_equal(after[name][:, nobody + 1], saved[name][:, nobody])  # the ant is the person
    np.testing.assert_array_equal(after[name][:, nobody], before[name][:, nobody])  # the beetle is new
    np.testing.assert_array_equal(after[name][:, :nobody], saved[name][:, :nobody])


def test_more_queries_keep_the_first_ones(tmp_path):
    there, here = of_people("querypose"), of_people("querypose")
    here.model.update(num_proposals=24, proposal_grid=(4, 6))
    saved, before = drawn(shapes("querypose", "people"), 0), drawn(abstract_model(here)[1], 1)
    save_model(tmp_path, there, saved)
    after, table, lines = start_from(tmp_path, here, before)
    queries = np.asarray(after["proposal_queries"][...])
    np.testing.assert_array_equal(queries[:20], saved["proposal_queries"][...])
    np.testing.assert_array_equal(queries[20:], before["proposal_queries"][...][20:])
    assert table.in_part == ["proposal_boxes", "proposal_queries"]
    assert any("queries drawn: 20, 21, 22, 23" in line for line in lines)


def test_the_table_names_what_is_kept_and_what_is_drawn(folders):
    *_, lines = started("edpose", folders["edpose"])
    text = "\n".join(lines)
    assert "joints kept: head <- nose, left_front <- left_wrist, right_front <- right_wrist" in text
    assert "joints drawn: middle, tail, left_hind, right_hind, left_feeler, right_feeler" in text
    assert "classes kept: ant <- person" in text
    assert "classes drawn: beetle" in text
    assert "not taken        6 arrays" in text  # the head that expands people of 17 joints


def test_weights_of_which_nothing_fits_and_a_map_of_unknown_names_are_one_line(tmp_path):
    there, fresh = of_people("simplepose"), drawn(shapes("simplepose", "people"), 0)
    save_model(tmp_path, there, fresh)
    with pytest.raises(UserError, match="nothing in it fits this model .simplepose there, grouppose here."):
        start_from(tmp_path, of_people("grouppose"), drawn(shapes("grouppose", "people"), 1))
    there.init_map = (("nose", "snout"),)
    with pytest.raises(UserError, match="init_map: 'snout' is no joint or class in the weights; known: "):
        start_from(tmp_path, there, fresh)
    there.init_map = (("snout", "nose"),)
    with pytest.raises(UserError, match="init_map: 'snout' is no joint or class here; known: "):
        start_from(tmp_path, there, fresh)
