"""What a fresh model takes over from other weights, array by array and row by row, by value."""

import numpy as np
import pytest

from querypose_jax.checkpoints.carry import carry
from querypose_jax.models.family import Rows


def joints(*names: str, axis: int = 0) -> Rows:
    return Rows(axis, tuple((("joint", name),) for name in names))


THERE = {"^head": joints("nose", "ear", "tail")}
HERE = {"^head": joints("tail", "horn", "nose")}
SAVED = {"body": np.full((2, 2), 5.0), "head.kernel": np.array([[1.0, 1], [2, 2], [3, 3]]), "gone": np.ones(1)}
DRAWN = {"body": np.zeros((2, 2)), "head.kernel": np.full((3, 2), -1.0), "new": np.zeros(4)}


def test_rows_of_the_same_name_are_carried_over_wherever_they_are_and_the_rest_keeps_its_draw():
    taken, table = carry(SAVED, DRAWN, THERE, HERE)
    np.testing.assert_array_equal(taken["body"], SAVED["body"])
    np.testing.assert_array_equal(taken["head.kernel"], [[3, 3], [-1, -1], [1, 1]])
    assert sorted(taken) == ["body", "head.kernel"]
    assert (table.kept, table.in_part, list(table.drawn), table.left) == (["body"], ["head.kernel"], ["new"], ["gone"])
    np.testing.assert_array_equal(DRAWN["head.kernel"], -1)  # nothing is written into what was given


def test_a_map_says_which_name_a_row_had_and_an_empty_one_draws_it():
    taken, table = carry(SAVED, DRAWN, THERE, HERE, {"horn": "ear", "nose": ""})
    np.testing.assert_array_equal(taken["head.kernel"], [[3, 3], [2, 2], [-1, -1]])
    lines = "\n".join(table.lines("init_from X:"))
    assert "joints kept: tail, horn <- ear" in lines
    assert "joints drawn: nose" in lines


def test_rows_lie_along_any_axis_and_parts_are_found_by_any_of_their_joints():
    there = {
        "last": joints("nose", "ear", axis=-1),
        "part": Rows(0, ((("joint", "nose"), ("joint", "ear")), (("joint", "tail"),))),
    }
    here = {"last": joints("ear", axis=-1), "part": Rows(0, ((("joint", "horn"),), (("joint", "ear"),)))}
    saved = {"last": np.array([[1.0, 2], [3, 4]]), "part": np.array([7.0, 8])}
    taken, _ = carry(saved, {"last": np.zeros((2, 1)), "part": np.zeros(2)}, there, here)
    np.testing.assert_array_equal(taken["last"], [[2], [4]])
    np.testing.assert_array_equal(taken["part"], [0, 7])


@pytest.mark.parametrize("saved", [np.ones((3, 3)), np.ones((4, 2)), np.ones(3)], ids=lambda x: str(x.shape))
def test_what_fits_neither_whole_nor_by_rows_is_drawn_and_its_shapes_are_told(saved):
    taken, table = carry({"head.kernel": saved}, DRAWN, THERE, HERE)
    assert "head.kernel" not in taken
    assert f"{list(saved.shape)} there, [3, 2] here" in table.drawn["head.kernel"]


def test_every_array_of_the_model_and_of_the_weights_is_in_the_table_once():
    _, table = carry(SAVED, DRAWN, THERE, HERE)
    assert sorted([*table.kept, *table.in_part, *table.drawn]) == sorted(DRAWN)
    assert sorted([*table.kept, *table.in_part, *table.left]) == sorted(SAVED)
    lines = table.lines("init_from X:")
    counts = {line.split("arrays")[0].strip() for line in lines if "arrays" in line}
    assert {"kept whole       1", "kept by rows     1", "drawn anew       1", "not taken        1"} == counts
