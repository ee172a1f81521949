"""Files of torch.save without torch: what torch wrote is read as torch reads it, what no torch writes is refused."""

import argparse
import collections
import math
import os
import pickle
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from querypose_jax.errors import UserError
from querypose_jax.weights import torch_files as reader
from querypose_jax.weights.formats import read_weights
from tests.weights import torch_files as writer
from tests.weights.test_pickles import Hostile
from tests.weights.torch_files import Call, Entry, Global, Storage, archive, entries, program, save, view

WRITTEN_BY_TORCH = Path(__file__).parent / "data"
X = np.arange(6, dtype=np.float32).reshape(2, 3)
FLOATS = Storage("FloatStorage", "0", 6)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.pth"


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        read_weights(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def write(path: Path, content, storages: dict[str, bytes] | None = None) -> Path:
    """A file in which `content` is pickled as it is, beside storages; storage 0 is X unless told."""
    path.write_bytes(archive(entries(program(content), {"0": X.tobytes()} if storages is None else storages)))
    return path


def test_what_torch_wrote_is_read_as_torch_reads_it():
    with np.load(WRITTEN_BY_TORCH / "expected.npz", allow_pickle=False) as found:
        expected = dict(found)
    dtypes = expected.pop("dtypes")
    read = read_weights(WRITTEN_BY_TORCH / "checkpoint.pth")
    assert list(read.tensors) == list(expected)
    for (name, x), dtype in zip(read.tensors.items(), dtypes, strict=True):
        assert (x.dtype.name, x.shape) == (dtype, expected[name].shape), name
        np.testing.assert_array_equal(x.astype(expected[name].dtype), expected[name], err_msg=name)
    assert read.other == [
        "ema_model", "optimizer", "lr_scheduler", "epoch", "args", "best", "history", "shape"
    ]  # fmt: skip


def test_views_of_one_storage_share_its_bytes():
    tensors = read_weights(WRITTEN_BY_TORCH / "checkpoint.pth").tensors
    assert np.shares_memory(tensors["view.offset"], tensors["view.shared"])
    assert not np.shares_memory(tensors["view.shared"], tensors["counter"])


def test_a_state_dict_under_another_name_loses_the_prefix_of_distributed_training():
    read = read_weights(WRITTEN_BY_TORCH / "wrapped.pth")
    assert {name: x.shape for name, x in read.tensors.items()} == {"weight": (2, 3), "bias": (2,)}
    assert read.other == ["epoch", "train_loss", "amp"]


def test_the_old_format_names_the_way_out():
    refused(WRITTEN_BY_TORCH / "old.pth", r"before 1.6; where torch .*torch.save\(torch.load\(OLD, .*\), NEW\)")


def test_the_oldest_format_names_the_way_out(path):
    path.write_bytes(b"pickle".ljust(257, b"\0") + b"ustar" + bytes(1000))
    refused(path, "format of PyTorch before 1.6")


def test_what_torch_writes_now_is_read_as_torch_reads_it(torch, path):
    state = {"a": torch.randn(3, 4).T, "b": torch.randn(5).half(), "c": torch.randn(2).bfloat16(), "d": torch.tensor(1)}
    torch.save({"model": state, "optimizer": {"lr": 0.1}}, path)
    read = read_weights(path).tensors
    assert read.keys() == state.keys()
    for name, x in torch.load(path, weights_only=True)["model"].items():
        assert read[name].dtype.name == str(x.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(read[name].astype(np.float64), x.double().numpy())


def test_torch_reads_the_files_of_these_tests(torch, path):
    path.write_bytes(save({"model": {"x": X}}))
    np.testing.assert_array_equal(torch.load(path, weights_only=True)["model"]["x"].numpy(), X)


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))  # 0 has no words for storages
def test_every_protocol_is_read(path, protocol):
    path.write_bytes(save({"model": {"x": X, "b": X.astype(ml_dtypes.bfloat16)}, "n": np.float64(1)}, protocol))
    read = read_weights(path).tensors
    np.testing.assert_array_equal(read["x"], X)
    assert read["b"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read["b"].astype(np.float32), X)


def test_what_lies_beside_is_passed_over_without_a_look(path):
    """The optimizer's tensors name storages that are not there, and one that is no tensor at all."""
    content = {
        "model": {"x": view(FLOATS, 0, (2, 3), (3, 1))},
        "optimizer": {"state": {0: {"exp_avg": view(Storage("FloatStorage", "gone", 10**12), -5, (10**12,), (1,))}}},
        "amp": view(None, None, None, None),
        "lr_scheduler": {"milestones": collections.Counter({3: 1}), "last_epoch": np.int64(2)},
        "args": argparse.Namespace(lr=0.1, more=argparse.Namespace(names=["a"])),
        "shape": Call(Global("torch", "Size"), ((2, 3),)),
    }
    read = read_weights(write(path, content))
    np.testing.assert_array_equal(read.tensors["x"], X)
    assert read.other == ["optimizer", "amp", "lr_scheduler", "args", "shape"]


def test_what_options_are_is_not_known_here(path):
    """A Namespace is a thing without attributes, whatever the file gives it."""
    path.write_bytes(save({"args": argparse.Namespace(lr=0.1)}))
    assert vars(reader.read_torch(path)["args"]) == {}


def test_numbers_stay_in_the_file_until_they_are_looked_at(path):
    size = 2**24
    path.write_bytes(save({"model": {"x": np.arange(size // 4, dtype=np.float32)}, "optimizer": [np.zeros(size // 4)]}))
    tracemalloc.start()
    try:
        x = read_weights(path).tensors["x"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 16
    path.unlink()
    assert (x[-1], x.flags.writeable) == (size // 4 - 1, False)


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (view(FLOATS, 0, (10**12,), (0,)), "1000000000000 numbers in a storage of 6"),
        (view(FLOATS, 0, (10**6, 10**6), (0, 0)), "1000000000000 numbers in a storage of 6"),
        (view(FLOATS, 0, (7,), (1,)), "7 numbers in a storage of 6"),
        (view(FLOATS, 1, (6,), (1,)), "ends at number 7 of a storage of 6"),
        (view(FLOATS, 0, (2, 2), (1, 5)), "ends at number 7 of a storage of 6"),
        (view(FLOATS, 2**40, (), ()), "ends at number 1099511627777 of a storage of 6"),
        (view(FLOATS, 6, (1,), (0,)), "ends at number 7"),
        (view(FLOATS, 5, (3,), (-1,)), "no possible shape"),
        (view(FLOATS, -1, (3,), (1,)), "no possible shape"),
        (view(FLOATS, 0, (-2, -3), (3, 1)), "no possible shape"),
        (view(FLOATS, 0, (2**63,), (1,)), "no possible shape"),
        (view(FLOATS, 0, (True, 3), (3, 1)), "no possible shape"),
        (view(FLOATS, 0.0, (2, 3), (3, 1)), "no possible shape"),
        (view(FLOATS, 0, (2, 3), (3,)), "no possible shape"),
        (view(FLOATS, 0, (1,) * 33, (1,) * 33), "no possible shape"),
        (view(FLOATS, 0, [2, 3], (3, 1)), "without storage or shape"),
        (view(FLOATS, 0, None, (3, 1)), "without storage or shape"),
        (view("0", 0, (2, 3), (3, 1)), "without storage or shape"),
        (view(FLOATS._replace(key="1"), 0, (2, 3), (3, 1)), "storage '1' is missing"),
        (view(FLOATS._replace(key="../byteorder"), 0, (2, 3), (3, 1)), "is missing"),
        (view(FLOATS._replace(count=7), 0, (2, 3), (3, 1)), "24 bytes for 7 numbers"),
        (view(FLOATS._replace(count=10**12), 0, (10**12,), (1,)), "24 bytes for 1000000000000 numbers"),
        (view(FLOATS._replace(kind="DoubleStorage"), 0, (6,), (1,)), "24 bytes for 6 numbers"),
        (view(FLOATS._replace(count=-6), 0, (2, 3), (3, 1)), "storage without type, name or size"),
        (view(FLOATS._replace(count=True), 0, (2, 3), (3, 1)), "storage without type, name or size"),
        (view(FLOATS._replace(key=0), 0, (2, 3), (3, 1)), "storage without type, name or size"),
    ],
)
def test_a_tensor_that_is_no_part_of_its_storage_is_refused(path, tensor, match):
    refused(write(path, {"model": {"x": tensor}}), match)


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (view(FLOATS, 5, (), ()), X[1, 2]),
        (view(FLOATS, 1, (2, 2), (3, 1)), X[:, 1:]),
        (view(FLOATS, 0, (3, 2), (1, 3)), X.T),
        (view(FLOATS, 0, (1, 6), (10**6, 1)), X.reshape(1, 6)),  # the step along a side of one is never taken
        (view(FLOATS, 0, (0, 3), (3, 1)), X[:0]),
        (view(FLOATS, 2, (3,), (0,)), X[0, [2, 2, 2]]),
        (writer.parameter(view(FLOATS, 0, (2, 3), (3, 1))), X),
    ],
)
def test_a_tensor_that_is_a_part_of_its_storage_is_that_part(path, tensor, expected):
    read = read_weights(write(path, {"x": tensor})).tensors["x"]
    assert read.shape == expected.shape
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (Call(Global("os", "system"), ("touch ran",)), "os.system"),
        (Hostile(eval, "open('ran', 'w')"), r"\w+\.eval"),
        (Call(Global("torch", "load"), ("other.pth",)), "torch.load"),
        (Call(Global("torch.storage", "_load_from_bytes"), (b"",)), "torch.storage._load_from_bytes"),
        (Call(Global("torch._utils", "_rebuild_sparse_tensor"), ()), "torch._utils._rebuild_sparse_tensor"),
        (Global("torch.nn.modules.linear", "Linear"), "torch.nn.modules.linear.Linear"),
        (Storage("ComplexFloatStorage", "0", 3), "torch.ComplexFloatStorage"),
    ],
)
@pytest.mark.parametrize("protocol", [1, 2, 5])
def test_what_asks_for_more_than_tensors_is_refused_by_name_and_nothing_runs(
    path, name, asked, protocol, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    content = {"model": {"x": view(FLOATS, 0, (2, 3), (3, 1))}, "beside": name}
    path.write_bytes(archive(entries(program(content, protocol), {"0": X.tobytes()})))
    refused(path, f"asks for {asked}, which could run code; not read")
    assert os.listdir(tmp_path) == ["a.pth"]


def test_numbers_of_a_big_endian_machine_are_refused(path):
    content = {"x": view(FLOATS, 0, (2, 3), (3, 1))}
    for order, is_read in ((None, True), (b"little", True), (b"big", False), (b"", False)):
        path.write_bytes(archive(entries(program(content), {"0": X.tobytes()}, byteorder=order)))
        if is_read:
            np.testing.assert_array_equal(read_weights(path).tensors["x"], X)
        else:
            refused(path, "was written on a big-endian machine")


@pytest.mark.parametrize(
    ("names", "count"),
    [(["a/version"], 0), (["data.pkl"], 0), (["a/data.pkl", "b/data.pkl"], 2), (["a/b/data.pkl"], 0)],
)
def test_an_archive_without_its_pickle_or_with_two_is_refused(path, names, count):
    path.write_bytes(archive([Entry(name, b"N.") for name in names]))
    refused(path, f"{count} entries FOLDER/data.pkl, not one")


def test_a_compressed_file_is_refused(path):
    listed = entries(program({"x": view(FLOATS, 0, (2, 3), (3, 1))}), {"0": X.tobytes()})
    path.write_bytes(archive([entry._replace(method=8) for entry in listed]))
    refused(path, "not a whole .pth file .*compressed.*; get it again")


def test_a_pickle_longer_than_any_of_weights_is_refused(path, monkeypatch):
    write(path, {"x": view(FLOATS, 0, (2, 3), (3, 1))})
    monkeypatch.setattr(reader, "LONGEST_PICKLE", 10)
    refused(path, "data.pkl has [0-9]+ bytes, more than 10")


def test_a_changed_number_is_found(path):
    path.write_bytes(save({"x": X}).replace(X.tobytes(), X.tobytes()[:-1] + b"\x41"))
    refused(path, "'archive/data/0' is damaged")


def test_a_changed_pickle_is_found(path):
    path.write_bytes(save({"weight": X}).replace(b"weight", b"height"))
    refused(path, "'archive/data.pkl' is damaged")


def test_what_is_no_archive_is_refused(path):
    for content in (b"x", b"neither", pickle.dumps({"x": X}), b"PK\3\4" + bytes(100)):
        path.write_bytes(content)
        refused(path, "not a whole .pth file")


def test_all_dtypes_of_these_tests_are_those_of_the_reader():
    assert set(writer.STORAGES.values()) == set(reader.DTYPES)
    for name, kind in writer.STORAGES.items():
        assert np.dtype(reader.DTYPES[kind]).name == name


def test_hooks_and_attributes_of_a_state_dict_are_passed_over(path):
    state = OrderedDict(x=view(FLOATS, 0, (2, 3), (3, 1)))
    state._metadata = OrderedDict({"": {"version": 1}})
    assert math.prod(read_weights(write(path, state)).tensors["x"].shape) == 6
