"""Every format is read to the same arrays; what is damaged or hostile costs one line."""

import os
import pickle

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from querypose_jax.errors import UserError
from querypose_jax.weights.formats import read_weights, state_dict
from tests.weights import torch_files
from tests.weights.test_pickles import Hostile

STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.float32([1, -2])}


def whole_file(suffix: str, content) -> bytes:
    """What the authors of a format would write."""
    if suffix == ".pkl":
        return pickle.dumps({"model": content}, 4)
    return safetensors.numpy.save(content) if suffix == ".safetensors" else torch_files.save({"model": content})


def one_line(path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def assert_is_state(tensors: dict) -> None:
    assert tensors.keys() == STATE.keys()
    for name, expected in STATE.items():
        assert tensors[name].dtype == np.float32
        np.testing.assert_array_equal(tensors[name], expected)


def test_safetensors_are_read_with_their_checksum(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(STATE, path)
    read = read_weights(path)
    assert_is_state(read.tensors)
    assert len(read.sha256) == 64
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert read_weights(path).sha256 != read.sha256


def test_bfloat16_in_safetensors_is_read(tmp_path):
    header = b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\x80\x3f\x20\xc1")
    read = read_weights(tmp_path / "a.safetensors").tensors["w"]
    np.testing.assert_array_equal(read.astype(np.float32), [1.0, -10.0])


def test_a_pickle_of_detectron2_is_read_and_what_lies_beside_is_named(tmp_path):
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": STATE, "__author__": "torchvision", "matching_heuristics": True}))
    read = read_weights(path)
    assert_is_state(read.tensors)
    assert read.other == ["__author__", "matching_heuristics"]


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_file_of_torch_is_read_and_what_lies_beside_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    content = {"model": STATE, "ema_model": STATE, "optimizer": {"lr": 0.1}, "iteration": 12}
    path.write_bytes(torch_files.save(content))
    read = read_weights(path)
    assert_is_state(read.tensors)
    assert read.other == ["ema_model", "optimizer", "iteration"]


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE},
        {"state_dict": STATE},
        {"epoch": 1, "model_state_dict": STATE},
        {"ema_model": STATE},
        {"ema_model": {"a.bias": np.ones(1)}, "model": STATE},
    ],
)
def test_a_state_dict_is_found_flat_or_wrapped(content):
    assert_is_state(state_dict(content)[0])


def test_the_prefix_of_distributed_training_is_left_out_if_all_names_have_it():
    assert_is_state(state_dict({f"module.{name}": x for name, x in STATE.items()})[0])
    assert "module.a" in state_dict({"module.a": np.ones(1), "b": np.ones(1)})[0]


def test_entries_that_are_no_tensors_are_named_not_read():
    tensors, other = state_dict(STATE | {"iteration": 3, 5: np.ones(1)})
    assert_is_state(tensors)
    assert other == ["iteration", "5"]


def test_what_is_no_weights_file_is_one_line(tmp_path):
    one_line(tmp_path / "none.pth", "no such file")
    (tmp_path / "a.txt").write_text("hello")
    one_line(tmp_path / "a.txt", r"by its name, which ends in one of \.pth, \.pt, \.pkl, \.safetensors")
    (tmp_path / "empty.pkl").write_bytes(pickle.dumps({"model": {}}))
    one_line(tmp_path / "empty.pkl", "no tensors in it")
    (tmp_path / "twin.pdparams").write_bytes(b"x")
    one_line(tmp_path / "twin.pdparams", "is a file of Paddle, .* the one for PyTorch")
    for suffix in (".pkl", ".safetensors", ".pth"):
        (tmp_path / f"text{suffix}").write_text("hello, this is no file of weights")
        one_line(tmp_path / f"text{suffix}", f"not a whole {suffix} file")


@pytest.mark.parametrize("suffix", [".pkl", ".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is an empty file .0 bytes.: .* get it again"),
        (
            b"<!DOCTYPE html>\n<html>Google Drive - Virus scan warning</html>",
            "is a web page .* download the file itself",
        ),
        (b"\xef\xbb\xbf\n<HTML><body>404</body></HTML>", "is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n",
            "is a pointer of git-lfs, .*git lfs pull",
        ),
        (b"\x1f\x8b\x08\x00", "is a gzip archive; unpack it"),
        (b"Rar!\x1a\x07", "is a RAR archive; unpack it"),
    ],
)
def test_what_a_failed_download_leaves_behind_is_called_what_it_is(tmp_path, suffix, content, said):
    (tmp_path / f"a{suffix}").write_bytes(content)
    one_line(tmp_path / f"a{suffix}", said)


@pytest.mark.parametrize("suffix", [".pkl", ".safetensors", ".pth"])
def test_truncated_files_are_one_line(tmp_path, suffix):
    path, whole = tmp_path / f"a{suffix}", whole_file(suffix, STATE)
    for length in (7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        one_line(path, f"not a whole {suffix} file")


def test_a_pickle_that_runs_code_is_one_line_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"model": STATE, "x": Hostile(os.system, "touch ran")}))
    one_line(path, r"asks for \w+\.system, which could run code; not read")
    assert not (tmp_path / "ran").exists()


def test_names_in_a_file_reach_no_terminal_as_commands(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"c\x1b[2Jos\nsystem\n.")
    one_line(tmp_path / "a.pkl", r"asks for \?\[2Jos.system, which could run code")


def damaged(whole: bytes, data: st.DataObject) -> bytes:
    """A copy with some bytes changed, or cut short."""
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    return bytes(content[: data.draw(st.integers(1, len(content)) | st.just(len(content)))])


def reads_or_says_so(path) -> None:
    read, said = None, ""
    try:
        read = read_weights(path)
    except UserError as error:
        said = str(error)
    assert said.count("\n") == 0
    assert said.startswith(str(path)) if read is None else read.tensors


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("suffix", [".pkl", ".safetensors", ".pth"])
def test_damaged_files_are_one_line_or_read(tmp_path, suffix, data):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(damaged(whole_file(suffix, STATE), data))
    reads_or_says_so(path)


def test_a_damaged_pickle_inside_a_whole_archive_is_one_line(tmp_path):
    path, storages = tmp_path / "a.pth", {}
    pickled = torch_files.program(torch_files.with_tensors(STATE, storages))
    for length in range(len(pickled)):
        path.write_bytes(torch_files.archive(torch_files.entries(pickled[:length], storages)))
        one_line(path, "not a whole .pth file|not read")
