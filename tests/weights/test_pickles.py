"""The restricted unpickler: arrays come through whichever way they were written, nothing else does."""

import contextlib
import os
import pickle
import tracemalloc
from argparse import Namespace
from collections import Counter, OrderedDict
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querypose_jax.weights.pickles import Refused, read_pickle

ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(24, dtype=np.float64).reshape(2, 3, 4)),
    "strided": np.arange(12, dtype=np.float16).reshape(3, 4)[:, ::2],
    "big endian": np.arange(5, dtype=">f4"),
    "counter": np.array(7, np.int64),
    "mask": np.array([True, False]),
}

# What Python 2 writes: arrays as text, no _codecs.
PYTHON_2 = (
    b"\x80\x02}U\x05modelcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x08\x00\x00\x80?\x00\x00\x20\xc1tbs."
)


class Hostile:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_through_every_protocol(protocol):
    content = {"model": OrderedDict(ARRAYS), "__author__": "somebody", "matching_heuristics": True, "steps": [1, 2.5]}
    read = read_pickle(pickle.dumps(content, protocol))
    assert {key: read[key] for key in ("__author__", "matching_heuristics", "steps")} == {
        "__author__": "somebody", "matching_heuristics": True, "steps": [1, 2.5]
    }  # fmt: skip
    assert read["model"].keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        assert read["model"][name].dtype == expected.dtype
        np.testing.assert_array_equal(read["model"][name], expected)


def test_numpy_scalars_become_arrays():
    read = read_pickle(pickle.dumps([np.float32(2.5), np.int64(-3)]))
    assert [x.shape for x in read] == [(), ()]
    assert [float(x) for x in read] == [2.5, -3]


def test_what_python_2_wrote_is_read():
    np.testing.assert_array_equal(read_pickle(PYTHON_2)["model"], np.array([1.0, -10.0], np.float32))


@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        (Hostile(os.system, "touch ran"), "system"),
        (Hostile(eval, "open('ran', 'w')"), r"\.eval"),
        (Hostile(open, "ran", "w"), "open"),
        (Hostile(np.save, "ran.npy", 1), "save"),
        (Hostile(partial, print), "functools.partial"),
        (Hostile(__import__, "os"), r"\.__import__"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_call_is_refused_by_name_and_not_made(hostile, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=name):
        read_pickle(pickle.dumps({"model": {"weight": np.ones(2)}, "extra": hostile}, protocol))
    assert list(tmp_path.iterdir()) == []


def test_objects_in_arrays_are_refused():
    with pytest.raises(Refused, match="numpy type 'O8'"):
        read_pickle(pickle.dumps(np.array([{}, []], dtype=object)))


def test_an_array_with_other_bytes_than_its_shape_needs_is_refused():
    written = pickle.dumps(np.zeros(3, np.float32), 2)
    with pytest.raises(ValueError, match="12 bytes for an array of shape"):
        read_pickle(written.replace(b"K\x03\x85", b"K\x04\x85"))


def test_a_huge_index_in_the_table_of_a_pickle_takes_no_memory():
    assert read_pickle(b"\x80\x02]r\xff\xff\xff\x7f.") == []  # LONG_BINPUT 2^31 - 1


def test_a_huge_length_of_bytes_takes_no_memory():
    with pytest.raises(EOFError):
        read_pickle(b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00.")  # BYTEARRAY8 2^40


def nested(depth: int) -> bytes:
    """A tuple that holds a tuple twice that holds a tuple twice ...: 2^depth ends in a few bytes each."""
    return b"\x80\x02)" + b"2\x86" * depth  # EMPTY_TUPLE; DUP, TUPLE2


def test_content_that_holds_itself_a_million_times_over_takes_no_memory():
    read = read_pickle(nested(100) + b".")
    for _ in range(100):
        assert read[0] is read[1]
        read = read[0]


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02}" + nested(100)[2:] + b"K\x01s.",  # a dict with it for a key: its hash takes for ever
        b"\x80\x02(" + nested(100)[2:] + b"K\x01d.",
        b"\x80\x02}(" + nested(100)[2:] + b"K\x01u.",
        b"\x80\x04\x8f(" + nested(100)[2:] + b"\x90.",  # a set
        b"cnumpy\ndtype\n" + nested(100)[2:] + b"\x85R.",  # a type: it was looked up and printed
        b"c_codecs\nencode\n}b.",  # attributes of a function
    ],
)
def test_what_would_hash_or_print_without_end_or_change_the_reader_is_refused(program):
    with pytest.raises(Refused):
        read_pickle(program)


def test_a_count_in_the_place_of_bytes_takes_no_memory():
    with pytest.raises(ValueError, match="array without bytes"):
        read_pickle(b"\x80\x04cnumpy._core.numeric\n_frombuffer\n(\x8a\x05\x00\x00\x00\x00\x7fcnumpy\ndtype\n"
                    b"U\x02f4\x85RK\x00\x85U\x01CtR.")  # fmt: skip


TEXT = b"c_codecs\nencode\nq\x00X" + (10**6).to_bytes(4, "little") + b"x" * 10**6 + b"X\x06\x00\x00\x00latin1\x86q\x02"
PAIRS = b"ccollections\nOrderedDict\nq\x00](" + b"(K\x00Nt" * 10**5 + b"e\x85q\x02"


@pytest.mark.parametrize("given_again", [TEXT, PAIRS])
def test_content_that_is_copied_a_thousand_times_takes_no_memory(given_again):
    program = b"\x80\x02" + given_again + b"h\x00h\x02R" * 1000 + b"."
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="the same content is copied over and over"):
            read_pickle(program)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * len(program)


def test_each_text_may_be_copied_once():
    read = read_pickle(pickle.dumps([b"x" * 10**5] * 100 + [bytes([i]) * 1000 for i in range(100)], 2))
    assert [len(x) for x in read] == [10**5] * 100 + [1000] * 100


@pytest.mark.parametrize("program", [b"(ios\nsystem\n.", b"(c_codecs\nencode\nVa\nVlatin1\no."])
def test_instances_of_python_2_are_refused(program):
    with pytest.raises(Refused, match="an instance of a class of Python 2"):
        read_pickle(program)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_options_and_milestones_of_a_training_are_harmless(protocol):
    read = read_pickle(pickle.dumps({"args": Namespace(lr=0.1, more=Namespace()), "at": Counter({11: 1})}, protocol))
    assert vars(read["args"]) == {}
    assert read["at"] == {11: 1}


def test_attributes_of_a_state_dict_are_passed_over():
    content = OrderedDict(a=np.ones(2, np.float32))
    content._metadata = OrderedDict(version=1)
    assert read_pickle(pickle.dumps(content, 2)).keys() == {"a"}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_pickles_end_in_an_error_or_a_value(data):
    content = bytearray(pickle.dumps({"model": {"a": np.ones((2, 2), np.float32), "b": np.float64(3)}}, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Exception):  # never a crash, an endless loop or memory beyond the file's
        read_pickle(bytes(content[: data.draw(st.integers(1, len(content)))]))
