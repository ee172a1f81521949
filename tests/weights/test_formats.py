"""Every format is read to the same arrays; what is damaged or hostile costs one line."""

import importlib.metadata
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from querypose_jax.errors import UserError
from querypose_jax.weights import formats
from querypose_jax.weights.formats import read_weights, state_dict
from tests.weights.test_pickles import Hostile

STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.float32([1, -2])}


@pytest.fixture(scope="session")
def torch():
    """PyTorch, where it is installed and new enough."""
    module = pytest.importorskip("torch", reason="torch is not installed: .pth files are not tried")
    if tuple(map(int, module.__version__.split(".")[:2])) < formats.OLDEST_TORCH:
        pytest.skip(f"torch {module.__version__} is older than what .pth files need")
    return module


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


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_both_formats_of_torch_are_read(torch, tmp_path, zipped, suffix):
    tensors = {name: torch.from_numpy(x.copy()) for name, x in STATE.items()}
    tensors["a.bias"] = torch.nn.Parameter(tensors["a.bias"])
    content = {"model": tensors, "optimizer": {"lr": 0.1}, "iteration": 12}
    torch.save(content, tmp_path / f"a{suffix}", _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path / f"a{suffix}")
    assert_is_state(read.tensors)
    assert read.other == ["optimizer", "iteration"]


def test_bfloat16_of_torch_is_read(torch, tmp_path):
    torch.save({"w": torch.tensor([1.0, -10.0], dtype=torch.bfloat16)}, tmp_path / "a.pth")
    np.testing.assert_array_equal(read_weights(tmp_path / "a.pth").tensors["w"], np.float32([1, -10]))


@pytest.mark.parametrize("content", [STATE, {"model": STATE}, {"state_dict": STATE}])
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
    one_line(tmp_path / "a.txt", r"ending .* \.pth, \.pt, \.pkl, \.safetensors")
    (tmp_path / "empty.pkl").write_bytes(pickle.dumps({"model": {}}))
    one_line(tmp_path / "empty.pkl", "no tensors in it")
    for suffix in (".pkl", ".safetensors"):
        (tmp_path / f"text{suffix}").write_text("<!DOCTYPE html>\n<html>not found</html>")
        one_line(tmp_path / f"text{suffix}", f"not a whole {suffix} file")


def test_truncated_files_are_one_line(tmp_path):
    safetensors.numpy.save_file(STATE, tmp_path / "a.safetensors")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": STATE}))
    for path in (tmp_path / "a.safetensors", tmp_path / "a.pkl"):
        whole = path.read_bytes()
        for length in (0, 7, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            one_line(path, f"not a whole {path.suffix} file")


def test_truncated_files_of_torch_are_one_line(torch, tmp_path):
    tensors = {name: torch.from_numpy(x.copy()) for name, x in STATE.items()}
    path = tmp_path / "a.pth"
    for zipped in (True, False):
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for length in (0, 7, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            one_line(path, "not a whole .pth file")


def test_a_pickle_that_runs_code_is_one_line_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"model": STATE, "x": Hostile(os.system, "touch ran")}))
    one_line(path, r"asks for \w+\.system, which could run code; not read")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_that_runs_code_is_one_line_and_does_not_run(torch, tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pth"
    content = {"model": {"a": torch.ones(2)}, "x": Hostile(os.system, "touch ran")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    one_line(path, r"asks for \w+\.system, which could run code; not read")
    assert not (tmp_path / "ran").exists()


def test_names_in_a_file_reach_no_terminal_as_commands(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"c\x1b[2Jos\nsystem\n.")
    one_line(tmp_path / "a.pkl", r"asks for \?\[2Jos.system, which could run code")


def test_torch_that_is_missing_or_has_known_holes_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    path.write_bytes(b"anything")

    def absent(name):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    one_line(path, "torch reads this file and is not installed; pip install 'torch>=2.10'")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.9.1+cu130")
    one_line(path, r"torch 2.9.1\+cu130 can be made to run code by such a file; pip install 'torch>=2.10'")


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


fuzzed = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzzed
@given(st.data())
@pytest.mark.parametrize("suffix", [".pkl", ".safetensors"])
def test_damaged_files_are_one_line_or_read(tmp_path, suffix, data):
    path = tmp_path / f"a{suffix}"
    whole = pickle.dumps({"model": STATE}, 4) if suffix == ".pkl" else safetensors.numpy.save(STATE)
    path.write_bytes(damaged(whole, data))
    reads_or_says_so(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_of_torch_are_one_line_or_read(torch, tmp_path, zipped):
    tensors = {name: torch.from_numpy(x.copy()) for name, x in STATE.items()}
    torch.save(tensors, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "whole.pth").read_bytes()

    @fuzzed
    @given(st.data())
    def fuzz(data):
        (tmp_path / "a.pth").write_bytes(damaged(whole, data))
        reads_or_says_so(tmp_path / "a.pth")

    fuzz()


def test_a_damaged_pickle_inside_a_whole_archive_of_torch_is_one_line(torch, tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(tmp_path / "a.pth", "w") as broken:
        for entry in whole.namelist():
            content = whole.read(entry)
            broken.writestr(entry, content[: len(content) // 2] if entry.endswith("data.pkl") else content)
    with warnings.catch_warnings(action="error"):
        one_line(tmp_path / "a.pth", "not a whole .pth file|not read")
